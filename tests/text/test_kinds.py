"""What a config names is made, and whichever kind a file or folder holds is read."""

import pytest

from jaxformer.config.data import Bpe
from jaxformer.config.errors import UserError
from jaxformer.config.text import Bytes, Characters, WordPiece
from jaxformer.text.bpe import BpeTokenizer
from jaxformer.text.characters import ByteTokenizer, CharacterTokenizer
from jaxformer.text.kinds import load_tokenizer, train_tokenizer
from jaxformer.text.pretrained import PretrainedTokenizer
from tests.text import toys

KINDS = {
    Bpe(vocabulary=263): BpeTokenizer,
    WordPiece(vocabulary=97): PretrainedTokenizer,
    Characters(): CharacterTokenizer,
    Bytes(): ByteTokenizer,
}


@pytest.mark.smoke
@pytest.mark.parametrize(("config", "kind"), KINDS.items(), ids=lambda x: type(x).__name__)
def test_each_kind_is_made_saved_and_recognised(config, kind, tmp_path):
    tokenizer = train_tokenizer(config, iter(toys.TEXTS))
    path = tmp_path if kind is PretrainedTokenizer else tmp_path / "tokenizer.json"
    tokenizer.save(path)
    for place in (path, tmp_path):  # a file, or the run folder that holds it
        loaded = load_tokenizer(place)
        assert type(tokenizer) is type(loaded) is kind
        assert loaded.fingerprint == tokenizer.fingerprint
        assert loaded.encode("the cat") == tokenizer.encode("the cat")


@pytest.mark.parametrize("kind", toys.KINDS)
def test_a_folder_or_a_lone_file_of_another_library_is_read(kind, tmp_path):
    toys.write(tmp_path, kind)
    whole, lone = load_tokenizer(tmp_path), load_tokenizer(tmp_path / "tokenizer.json")
    assert isinstance(whole, PretrainedTokenizer) and isinstance(lone, PretrainedTokenizer)
    assert whole.encode("the cat") == lone.encode("the cat")


def test_a_bpe_of_this_library_in_a_folder_of_that_layout_is_one_of_that_layout(tmp_path):
    tokenizer = train_tokenizer(Bpe(vocabulary=263), toys.TEXTS)
    tokenizer.save(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<eos>", "chat_template": "{{ eos_token }}"}')
    loaded = load_tokenizer(tmp_path)
    assert isinstance(loaded, PretrainedTokenizer) and loaded.chat_template == "{{ eos_token }}"
    assert loaded.encode("the <eos> cat") == tokenizer.encode("the <eos> cat")


def test_a_config_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="no tokenizer for str"):
        train_tokenizer("Bpe", [])


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"type": "Words"}', '{"added_tokens": [7]}'])
def test_a_broken_file_is_one_clear_line(content, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    for place in (path, tmp_path):
        with pytest.raises(UserError, match=r"is not a tokenizer|is damaged") as caught:
            load_tokenizer(place)
        assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_missing_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match=r"no tokenizer at .*absent: No such file"):
        load_tokenizer(tmp_path / "absent")
    with pytest.raises(UserError, match=r"there is no tokenizer\.json"):
        load_tokenizer(tmp_path)
