"""Conversations are kept as they stand, and whatever is wrong with one is said with file and line."""

import json

import pytest

from jaxformer.config.errors import UserError
from jaxformer.data.chats import Conversations, Preference, load_chats, load_preferences


def user(content, **more):
    return {"role": "user", "content": content, **more}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def refusal(load, spec) -> str:
    with pytest.raises(UserError) as caught:
        load(str(spec))
    assert "\n" not in str(caught.value)
    return str(caught.value)


CHATS = [[user(f"ask {i}"), assistant(f"answer {i} 日"), user("more"), assistant("no", name="x")] for i in range(23)]


@pytest.mark.smoke
def test_chats_are_split_by_their_hash_and_kept_whole(tmp_path):
    path = write(tmp_path / "chats.jsonl", [{"messages": chat, "id": i} for i, chat in enumerate([*CHATS, CHATS[0]])])
    chats = load_chats(str(path), held_out=0.2)
    every = [tuple(chat) for chat in [*CHATS, CHATS[0]]]
    assert len({json.dumps(chat) for chat in chats.valid}) == 5
    assert list(chats.train) == [chat for chat in every if chat not in chats.valid]
    assert list(chats.valid) == [chat for chat in every if chat in chats.valid]


def test_named_splits_are_taken_as_they_are(tmp_path):
    for name, part in (("train", CHATS[:3]), ("dev", CHATS[3:5])):
        write(tmp_path / f"{name}.jsonl", [{"messages": chat} for chat in part])
    assert load_chats(str(tmp_path)) == Conversations(tuple(map(tuple, CHATS[:3])), tuple(map(tuple, CHATS[3:5])))


def test_the_fingerprint_sees_every_turn_and_where_splits_end():
    a, b, c = (tuple(chat) for chat in CHATS[:3])
    every = [
        Conversations((a, b), (c,)),
        Conversations((b, a), (c,)),
        Conversations((a,), (b, c)),
        Conversations((a, b[:2]), (c,)),
        Conversations((a, (user("ask 1", name="y"), *b[1:])), (c,)),
    ]
    assert len({each.fingerprint for each in every}) == 5
    assert Conversations((a, b), (c,)).fingerprint == every[0].fingerprint


def test_the_ways_to_write_a_preference_say_the_same(tmp_path):
    ask, good, bad = user("ask"), assistant("good"), assistant("bad")
    ways = [
        {"prompt": "ask", "chosen": "good", "rejected": "bad"},
        {"prompt": [ask], "chosen": [good], "rejected": "bad"},
        {"messages": [ask], "chosen": [ask, good], "rejected": [bad]},
        {"messages": [ask], "prompt": None, "chosen": "good", "rejected": [ask, bad]},
    ]
    write(tmp_path / "train.jsonl", ways)
    write(tmp_path / "valid.jsonl", ways[:1])
    preferences = load_preferences(str(tmp_path))
    expected = Preference((ask,), "good", "bad")
    assert preferences == Conversations((expected,) * 4, (expected,))


def test_the_pairs_of_a_prompt_stay_together(tmp_path):
    records = [{"prompt": f"ask {i % 13}", "chosen": f"good {i}", "rejected": "bad"} for i in range(41)]
    preferences = load_preferences(str(write(tmp_path / "pairs.jsonl", records)), held_out=0.3)
    asked = [{pair.messages[0]["content"] for pair in split} for split in (preferences.train, preferences.valid)]
    assert not asked[0] & asked[1] and len(asked[1]) == 4
    assert len(preferences.train) + len(preferences.valid) == 41


GOOD_CHAT = {"messages": [user("a"), assistant("b")]}
GOOD_PAIR = {"prompt": "a", "chosen": "b", "rejected": "c"}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([user("a")], "a line must be a JSON object"),
        ({"text": "a"}, "messages must be a list of messages, got 'null'"),
        ({"messages": []}, "messages must be a list of messages, got '[]'"),
        ({"messages": ["a"]}, "messages, message 1: a message must be an object, got '\"a\"'"),
        ({"messages": [user("a"), {"role": "assistant"}]}, "messages, message 2: no field content; there are role"),
        ({"messages": [user("a"), assistant(None)]}, "messages, message 2: content must be a text, got 'null'"),
        ({"messages": [user("a"), {"role": 3, "content": "b"}]}, "message 2: role must be a text, got '3'"),
        ({"messages": [user("a")]}, "a chat must have a turn of the role assistant"),
        ({"messages": [user("a"), assistant("\ud800")]}, "message 2: content holds half a surrogate pair, \\ud800"),
    ],
)
def test_bad_chats(record, message, tmp_path):
    path = write(tmp_path / "chats.jsonl", [GOOD_CHAT, record])
    assert f"chats.jsonl, line 2{', ' if message.startswith('messages, ') else ''}" in refusal(load_chats, path)
    assert message in refusal(load_chats, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": 3}, "prompt must be a list of messages, got '3'"),
        ({"prompt": [{"role": "user"}]}, "prompt, message 1: no field content"),
        ({"chosen": None}, "chosen must be a text, got 'null'"),
        ({"rejected": [user("c")]}, "rejected must be one turn of the assistant, alone or after those of the prompt"),
        ({"rejected": [user("other"), assistant("c")]}, "rejected must be one turn of the assistant"),
        ({"chosen": []}, "chosen must be a list of messages, got '[]'"),
        ({"chosen": "c"}, "chosen and rejected must differ, got 'c' for both"),
    ],
)
def test_bad_preferences(change, message, tmp_path):
    path = write(tmp_path / "pairs.jsonl", [GOOD_PAIR, GOOD_PAIR | change])
    line = refusal(load_preferences, path)
    assert "pairs.jsonl, line 2" in line and message in line


def test_missing_and_empty_files(tmp_path):
    assert "no file or folder" in refusal(load_chats, tmp_path / "absent.jsonl")
    assert "no file or folder" in refusal(load_chats, "")
    assert "has neither train.jsonl nor valid.jsonl" in refusal(load_chats, tmp_path)
    (tmp_path / "chats.jsonl").write_text("\n", encoding="utf-8")
    assert "chats.jsonl is empty" in refusal(load_chats, tmp_path / "chats.jsonl")
    write(tmp_path / "chats.jsonl", [GOOD_CHAT, GOOD_CHAT])
    assert "must hold two different conversations" in refusal(load_chats, tmp_path / "chats.jsonl")
    (tmp_path / "train.jsonl").write_text("{}", encoding="utf-8")
    assert "has train.jsonl but no valid split" in refusal(load_chats, tmp_path)
    with pytest.raises(ValueError, match="held_out must lie between 0 and 1, got 1"):
        load_chats(str(tmp_path), held_out=1)
    with pytest.raises(UserError, match="no field chosen; there are prompt"):
        load_preferences(str(write(tmp_path / "pairs.jsonl", [{"prompt": "a"}])))
