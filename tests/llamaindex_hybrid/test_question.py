import pytest
from llama_index.core.agent.utils import messages_to_xml_format
from llama_index.core.agent.workflow.prompts import DEFAULT_EARLY_STOPPING_PROMPT, DEFAULT_STATE_PROMPT
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.chat_engine import condense_plus_context, condense_question
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.output_parsers import PydanticOutputParser
from llama_index.core.prompts import (
    PromptTemplate,
    RichPromptTemplate,
    SelectorPromptTemplate,
    chat_prompts,
    default_prompt_selectors,
    default_prompts,
)
from llama_index.core.question_gen.prompts import DEFAULT_SUB_QUESTION_PROMPT_TMPL, build_tools_text
from llama_index.core.selectors import prompts as selector_prompts

from llamaindex_hybrid.question import (
    Question,
    own_copy,
    query,
    question_of_messages,
    question_of_prompt,
    question_of_text,
    wish,
)
from shared_router.errors import KnobError
from shared_router.knob import Knob

QUESTION = "What is the capital of France?\nAnd of Spain?"
FILL = {
    "query_str": QUESTION,
    "context_str": "Query: another one\nAnswer: 42",
    "context_msg": "New context\nQuery: nope\nOriginal Answer: no",
    "existing_answer": "Paris. Query: x",
    "num_choices": 2,
    "max_outputs": 1,
    "num_chunks": 2,
    "context_list": "(1) Query: one\n(2) the question: 'two'",
    "tools_str": '{"a": "b"}',
    "chat_history": "user: hello\nassistant: hi",
    "question": QUESTION,
    "state": "{'a': 1}",
    "msg": QUESTION,
}


def test_the_build_of_the_host_is_known() -> None:
    assert build_tools_text([]) == "{}"


@pytest.mark.parametrize(
    "template",
    [
        default_prompts.DEFAULT_TEXT_QA_PROMPT_TMPL,
        default_prompts.DEFAULT_TREE_SUMMARIZE_TMPL,
        default_prompts.DEFAULT_REFINE_PROMPT_TMPL,
        default_prompts.DEFAULT_QUERY_PROMPT_TMPL,
        default_prompts.DEFAULT_QUERY_PROMPT_MULTIPLE_TMPL,
        selector_prompts.DEFAULT_SINGLE_SELECT_PROMPT_TMPL,
        selector_prompts.DEFAULT_MULTI_SELECT_PROMPT_TMPL,
        selector_prompts.DEFAULT_SINGLE_PYD_SELECT_PROMPT_TMPL,
        selector_prompts.DEFAULT_MULTI_PYD_SELECT_PROMPT_TMPL,
        DEFAULT_SUB_QUESTION_PROMPT_TMPL,
        condense_plus_context.DEFAULT_CONDENSE_PROMPT_TEMPLATE,
        condense_question.DEFAULT_TEMPLATE,
        DEFAULT_STATE_PROMPT,
    ],
)
def test_the_question_is_taken_out_of_what_core_has_formatted(template: str) -> None:
    assert question_of_text(PromptTemplate(template).format(**FILL)).text == QUESTION


@pytest.mark.parametrize(
    "template",
    [chat_prompts.CHAT_TEXT_QA_PROMPT, chat_prompts.CHAT_TREE_SUMMARIZE_PROMPT, chat_prompts.CHAT_REFINE_PROMPT],
)
def test_the_same_in_messages(template: PromptTemplate) -> None:
    assert question_of_messages(template.format_messages(**FILL)).text == QUESTION


@pytest.mark.parametrize(
    "text", ["Query: what is this?\nAnswer: ", "the question: 'why?'", "", "Current message: hello", "<user>hi</user>"]
)
def test_a_users_own_words_are_left_alone(text: str) -> None:
    assert question_of_text(text) == Question(text.strip())


def test_an_agents_conversation_is_judged_by_its_last_user_turn() -> None:
    conversation = [
        ChatMessage(content="You are an agent.", role="system"),
        ChatMessage(content="first"),
        ChatMessage(content="an answer", role="assistant"),
        ChatMessage(content=QUESTION),
    ]
    assert question_of_messages(messages_to_xml_format(conversation)).text == QUESTION
    assert question_of_text(empty := "<current_conversation></current_conversation>").text == empty


@pytest.mark.parametrize(
    "harness",
    [
        "Observation: 42",
        "Error while parsing the output: no action\n\nThe output should be ...",
        "FAILURE: Your previous response was empty.\nYou must ...",
        DEFAULT_EARLY_STOPPING_PROMPT.format(max_iterations=3),
    ],
)
def test_what_an_agents_harness_says_in_the_users_name_is_not_judged(harness: str) -> None:
    assert question_of_messages([ChatMessage(content="ask"), ChatMessage(content=harness)]).text == "ask"


@pytest.mark.parametrize("name", ["query_str", "query", "question", "user_msg", "input"])
def test_the_question_is_found_among_a_templates_variables(name: str) -> None:
    template = PromptTemplate("Much ado about {context_str} and {" + name + "}")
    bound = template.partial_format(**{name: QUESTION})
    assert question_of_prompt(bound, {"context_str": "c"}) == Question(QUESTION, "c")
    assert question_of_prompt(template, {name: QUESTION}) == Question(QUESTION, "")


def test_other_variables_names_do_not_matter() -> None:
    mapped = PromptTemplate("{my_query}", template_var_mappings={"query_str": "my_query"})
    assert question_of_prompt(mapped, {"query_str": QUESTION}) == Question(QUESTION, "")
    rich = RichPromptTemplate("{% chat role='user' %}{{ query_str }} is asked{% endchat %}")
    assert question_of_prompt(rich, {"query_str": QUESTION}) == Question(QUESTION, "")


def test_a_template_without_a_question_is_judged_whole() -> None:
    class Answer(BaseModel):
        text: str

    template = PromptTemplate("Summarise {topic}.", output_parser=PydanticOutputParser(Answer))
    assert question_of_prompt(template, {"topic": "cats"}) == Question("Summarise cats.", "")
    assert template.output_parser is not None


def test_a_block_of_code_can_say_what_is_judged() -> None:
    assert (wish().question, wish().knob) == (None, None)
    with query("outer", quality=0.5):
        with query("inner"):
            assert (wish().question, wish().knob) == ("inner", Knob("quality", 0.5))
        with query(route="small"):
            assert (wish().question, wish().knob) == ("outer", Knob("route", "small"))
    assert wish().question is None
    with pytest.raises(KnobError), query(speed=1):
        pass


def test_a_selectors_templates_are_copied_with_it() -> None:
    shared = default_prompt_selectors.DEFAULT_TEXT_QA_PROMPT_SEL
    copy = own_copy(shared)
    assert isinstance(copy, SelectorPromptTemplate)

    class Answer(BaseModel):
        text: str

    copy.output_parser = PydanticOutputParser(Answer)
    for chat in (True, False):
        assert "schema" in copy.format(llm=MockLLM(is_chat_model=chat), query_str="q", context_str="c")
    assert shared.default_template.output_parser is None
    assert shared.conditionals[0][1].output_parser is None
