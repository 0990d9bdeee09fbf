"""A chat renders as transformers renders it, in a sandbox, and the answers in it are found."""

import datetime

import pytest

from jaxformer.config.errors import UserError
from jaxformer.text.chat import CHATML, answer_mask, answer_spans, render
from jaxformer.text.pretrained import PretrainedTokenizer
from tests.text import toys

SMOLLM = """\
{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are helpful.<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""

LLAMA3 = """\
{{- bos_token }}
{%- set date = strftime_now('%d %b %Y') if strftime_now is defined else 'never' %}
{%- if messages[0].role == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = '' %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' ~ date ~ '\\n' }}
{%- if tools is not none %}
    {%- for tool in tools %}
        {{- tool | tojson(indent=2) }}
        {{- '\\n' }}
    {%- endfor %}
{%- endif %}
{{- system ~ '<|eot_id|>' }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {%- generation %}
    {{- message['content'] | trim + '<|eot_id|>' }}
    {%- endgeneration %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

GEMMA = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}
  {{- raise_exception('System role not supported') }}
{%- endif %}
{% for message in messages %}
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {% endif %}
    {% if message['role'] == 'assistant' %}
        {% set role = 'model' %}
    {% else %}
        {% set role = message['role'] %}
    {% endif %}
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{'<start_of_turn>model\\n'}}
{%- endif %}
"""

MISTRAL = """\
{%- set ns = namespace(system='', turns=0) -%}
{{- bos_token -}}
{%- for message in messages -%}
  {%- if message.role == 'system' -%}
    {%- set ns.system = message.content + '\\n\\n' -%}
    {%- continue -%}
  {%- endif -%}
  {%- if message.role == 'user' -%}
    {{- '[INST] ' + (ns.system if ns.turns == 0 else '') + message.content + ' [/INST]' -}}
    {%- set ns.turns = ns.turns + 1 -%}
  {%- elif message.role == 'assistant' -%}
    {{- ' ' + message.content + eos_token -}}
  {%- else -%}
    {{- raise_exception('Only user and assistant roles are supported!') -}}
  {%- endif -%}
{%- endfor -%}
"""

ABSENT = "{{ tools }} {{ documents }} {{ nothing }}"

TEMPLATES = {"chatml": CHATML, "smollm": SMOLLM, "llama3": LLAMA3, "gemma": GEMMA, "mistral": MISTRAL, "absent": ABSENT}

QUESTION = {"role": "user", "content": " Why <is> 'it' \n so?  "}
ANSWER = {"role": "assistant", "content": "因为 & so on."}
AGAIN = {"role": "user", "content": "Really?"}
YES = {"role": "assistant", "content": "Yes."}
SYSTEM = {"role": "system", "content": "Be brief."}
CHATS = [[QUESTION], [QUESTION, ANSWER], [QUESTION, ANSWER, AGAIN], [QUESTION, ANSWER, AGAIN, YES]]
MARKS = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}


def of(template, messages, prompt=False, **variables):
    return render(template, messages, **(MARKS | {"add_generation_prompt": prompt} | variables))


@pytest.fixture(scope="module")
def reference(tmp_path_factory, transformers):
    return transformers.AutoTokenizer.from_pretrained(toys.write(tmp_path_factory.mktemp("llama3"), "llama3"))


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_chat_is_the_text_that_transformers_makes_of_it(name, prompt, reference):
    tools = [{"name": "<look> up", "arguments": {"für": [1, None, True]}}]
    chats = CHATS if name == "gemma" else [*CHATS, [SYSTEM, *CHATS[3]]]
    for messages in chats:
        for variables in ({}, {"tools": tools}):
            theirs = reference.apply_chat_template(
                messages, chat_template=TEMPLATES[name], tokenize=False, add_generation_prompt=prompt, **variables
            )
            assert of(TEMPLATES[name], messages, prompt, **variables) == theirs


def test_chatml_is_as_it_should_be():
    assert of(CHATML, [SYSTEM, AGAIN], prompt=True) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nReally?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_mark_that_the_model_lacks_prints_nothing():
    assert of("{{ bos_token }}|{{ eos_token }}|{{ nothing }}", [], bos_token=None) == "|<|eot_id|>|"


def test_the_date_is_today():
    assert of("{{ strftime_now('%Y') }}", []) in {str(datetime.date.today().year + n) for n in (-1, 0, 1)}


@pytest.mark.parametrize(
    ("template", "answers"),
    [
        ("chatml", ["因为 & so on.<|im_end|>\n", "Yes.<|im_end|>\n"]),
        ("smollm", ["因为 & so on.<|im_end|>\n", "Yes.<|im_end|>\n"]),
        ("llama3", ["因为 & so on.<|eot_id|>", "Yes.<|eot_id|>"]),
        ("gemma", ["因为 & so on.<end_of_turn>\n", "Yes.<end_of_turn>\n"]),
        ("mistral", [" 因为 & so on.<|eot_id|>", " Yes.<|eot_id|>"]),
    ],
)
def test_the_answers_are_found_with_their_ends(template, answers):
    text, spans = answer_spans(TEMPLATES[template], CHATS[3], **MARKS)
    assert text == of(TEMPLATES[template], CHATS[3])
    assert [text[start:stop] for start, stop in spans] == answers
    assert answer_spans(TEMPLATES[template], [QUESTION], **MARKS)[1] == []


@pytest.mark.parametrize(
    "template",
    [
        # The earlier answer is cut, as reasoning models do with what they thought.
        "{% for m in messages %}[{{ m.role }}]{{ m.content if loop.last or m.role == 'user' else '…' }}{% endfor %}",
        # The prompt holds what the answer does not.
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]<think>{% endif %}",
        # The length is told first.
        "{{ messages | length }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}",
    ],
)
def test_an_answer_whose_place_is_uncertain_stops_the_training(template):
    with pytest.raises(
        UserError, match=r"the answer in message 2 cannot be found: .*; train on chats of a single"
    ) as e:
        answer_spans(template, CHATS[3], **MARKS)
    assert "\n" not in str(e.value)


def test_the_answers_tokens_are_those_that_begin_in_it(tmp_path):
    tokenizer = PretrainedTokenizer.load(toys.write(tmp_path, "llama3"))
    text, spans = answer_spans(LLAMA3, CHATS[3], **MARKS)
    ids, _, places = tokenizer.encode_marked(text)
    mask = answer_mask(places, spans)
    taken = [i for i, answers in zip(ids, mask, strict=True) if answers]
    assert tokenizer.pieces(taken)[-1] == "<|eot_id|>" and tokenizer.pieces(taken).count("<|eot_id|>") == 2
    assert tokenizer.decode(taken) == "因为 & so on.Yes."
    assert answer_mask([(0, 0), (0, 2), (2, 3), (3, 5), (3, 3)], [(2, 4)]) == [False, False, True, True, False]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"role": "user"}, "message 2 has no content; its keys are role"),
        ({"role": "user", "content": None}, "message 2 has no content; its keys are role, content"),
        ({"content": "x"}, "message 2 has no role; its keys are content"),
        ({}, "message 2 has no role; its keys are none"),
        ("Hello", "message 2 must be an object with role and content, got 'Hello'"),
    ],
)
def test_a_message_without_role_or_content_is_refused(message, words):
    with pytest.raises(UserError, match=f"^{words}$"):
        of(CHATML, [QUESTION, message])


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (GEMMA, r"refuses this chat: System role not supported$"),
        ("{% for m in messages %}", r"refuses this chat: Unexpected end of template"),
        ("{{ messages[0].no.more }}", r"refuses this chat: .* has no attribute 'no'"),
        ("{{ messages[0].content + 1 }}", r"fails on this chat: TypeError: "),
        ("{{ 1 / 0 }}", r"fails on this chat: ZeroDivisionError"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", r"refuses this chat: .*unsafe"),
        ("{{ messages.append(1) }}", r"refuses this chat: .*(unsafe|not safely)"),
        ("{{ cycler.__init__.__globals__.os.system('true') }}", r"refuses this chat: .*unsafe"),
        ("{% include 'x' %}", r"fails on this chat: TypeError: no loader"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", r"fails on this chat: OverflowError"),
    ],
)
def test_a_template_that_fails_or_breaks_out_is_one_clear_line(template, words):
    with pytest.raises(UserError, match=f"the chat template {words}") as caught:
        of(template, [SYSTEM, QUESTION])
    assert "\n" not in str(caught.value)
