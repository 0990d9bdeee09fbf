"""What other libraries read of a tokenizer of ours has the same ids."""

import pytest

from jaxformer.config.data import Bpe
from jaxformer.config.errors import UserError
from jaxformer.text.bpe import train_bpe
from jaxformer.text.characters import ByteTokenizer, CharacterTokenizer
from jaxformer.text.exported import exported
from jaxformer.text.pretrained import PretrainedTokenizer

TEXT = "hello wörld\n\n a  b 我<eos>x\t0"
KINDS = {
    "characters": lambda: CharacterTokenizer(TEXT),
    "bytes": ByteTokenizer,
    "bpe": lambda: train_bpe([TEXT] * 3, Bpe(290)),
    "lowercase bpe": lambda: train_bpe([TEXT.upper()] * 3, Bpe(290, lowercase=True)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_texts_have_the_same_ids_and_ids_the_same_texts(kind, tmp_path):
    ours = KINDS[kind]()
    exported(ours).save(tmp_path)
    theirs = PretrainedTokenizer.load(tmp_path)
    ids = ours.encode(TEXT)
    assert theirs.encode(TEXT) == ids and theirs.encode_batch([TEXT, ""]) == [ids, []]
    assert theirs.encode_prompt(TEXT) == ours.encode_prompt(TEXT) == [ours.eos, *ids]
    assert theirs.decode([ours.bos, *ids, ours.eos]) == ours.decode(ids)
    assert (theirs.size, theirs.pad, theirs.bos, theirs.eos) == (ours.size, ours.pad, ours.bos, ours.eos)


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_the_same_ids(kind, tmp_path, transformers):
    ours = KINDS[kind]()
    exported(ours).save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    plain = TEXT.replace("<eos>", "")  # they read a mark in a text as the mark
    assert theirs(plain).input_ids == ours.encode_prompt(plain)
    assert theirs.decode(ours.encode(plain)) == ours.decode(ours.encode(plain))


def test_what_has_no_such_form_is_refused():
    with pytest.raises(UserError, match="a int has no form that other libraries read"):
        exported(3)
