"""The child process that serves one model file; run by ``serve.py``, not imported.

    python server_process.py MODEL_FILE ALIAS CONTEXT_TOKENS

Writes one line, the address it listens on, to standard output once the model is loaded. Lives as long as its standard
input stays open: when the parent ends, even by a signal it cannot catch, the pipe closes and this process ends too.
"""

from __future__ import annotations

import os
import signal
import sys

import xllamacpp

THREADS = 1
"""A model. Two models work at times at once, and more threads than cores slow llama.cpp down several times."""


def main(model_file: str, alias: str, context_tokens: int) -> None:
    """Serve a model until standard input closes.

    Args:
        model_file: Path of the GGUF file.
        alias: Name under which the endpoint lists the model.
        context_tokens: Size of the context window.
    """
    # Ctrl-C reaches the whole process group; the parent decides what it means and then closes our standard input
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model_file
    parameters.model_alias = {alias}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0  # the operating system chooses a free one
    parameters.n_ctx = context_tokens
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = THREADS
    parameters.cpuparams_batch.n_threads = THREADS
    parameters.n_gpu_layers = 0
    parameters.use_jinja = True  # the model's own chat template, which tool calls need
    parameters.ui = False
    parameters.verbosity = 0
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.buffer.read()
    # the server has threads of its own that would keep an ordinary exit waiting
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
