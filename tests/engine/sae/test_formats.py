"""Dictionary files: a round trip, and errors that name the file and execute nothing."""

import pickle
from pathlib import Path

import pytest
import torch

from aquin_nb.engine.sae import SaeConfig, SparseAutoencoder, load_dictionary
from aquin_nb.errors import DictionaryError


def example(**changes: object) -> SparseAutoencoder:
    return SparseAutoencoder.random(SaeConfig("topk", d_in=6, d_sae=16, d_out=6, k=2, name="x", layer=3)).renamed(
        **changes
    )


def test_round_trip(tmp_path: Path) -> None:
    sae = example(model="tiny")
    path = sae.save(tmp_path / "deep" / "sae_layer3.pt")
    again = load_dictionary(path)
    assert again.cfg == sae.cfg
    assert again.path == path
    x = torch.randn(5, 6)
    torch.testing.assert_close(again.encode(x), sae.encode(x))
    torch.testing.assert_close(again.decode(again.encode(x)), again.reconstruct(x))
    assert again.W_enc.shape == (6, 16)
    assert again.W_dec.shape == (16, 6)


def test_encode_keeps_k_and_broadcasts() -> None:
    f = example().encode(torch.randn(2, 3, 6))
    assert f.shape == (2, 3, 16)
    assert int((f > 0).sum(-1).max()) <= 2
    values, indices = example().encode_sparse(torch.randn(4, 6))
    assert values.shape == indices.shape == (4, 2)
    assert bool((values[:, 0] >= values[:, 1]).all())


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, (f"open({str(self.target)!r}, 'w').write('owned')",))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    path, target = tmp_path / "evil.pt", tmp_path / "owned"
    torch.save({"format": "aquin-nb/sae", "x": Evil(target)}, path)
    with pytest.raises(DictionaryError, match="it was not run"):
        load_dictionary(path)
    path.write_bytes(pickle.dumps(Evil(target)))
    with pytest.raises(DictionaryError, match=r"evil\.pt"):
        load_dictionary(path)
    assert not target.exists()


def test_files_that_are_no_dictionary(tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match="no dictionary at"):
        load_dictionary(tmp_path / "nothing.pt")
    with pytest.raises(DictionaryError, match="is a folder"):
        load_dictionary(tmp_path)
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(DictionaryError, match=r"text\.pt"):
        load_dictionary(tmp_path / "text.pt")
    (tmp_path / "empty.pt").write_bytes(b"")
    with pytest.raises(DictionaryError, match=r"empty\.pt"):
        load_dictionary(tmp_path / "empty.pt")
    torch.save({"weights": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(DictionaryError, match="not a dictionary written by aquin-nb"):
        load_dictionary(tmp_path / "other.pt")
    whole = example().save(tmp_path / "cut.pt")
    whole.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(DictionaryError, match=r"cut\.pt (is damaged|holds)"):
        load_dictionary(whole)


def test_contents_that_disagree(tmp_path: Path) -> None:
    path = example().save(tmp_path / "a.pt")
    state = torch.load(path, weights_only=True)
    torch.save(state | {"b_enc": torch.zeros(15)}, path)
    with pytest.raises(DictionaryError, match="b_enc has shape"):
        load_dictionary(path)
    torch.save({k: v for k, v in state.items() if k != "W_dec"}, path)
    with pytest.raises(DictionaryError, match="lacks W_dec"):
        load_dictionary(path)
    torch.save(state | {"W_dec": torch.full((16, 6), float("nan"))}, path)
    with pytest.raises(DictionaryError, match="NaN or infinite"):
        load_dictionary(path)
    torch.save(state | {"version": 99}, path)
    with pytest.raises(DictionaryError, match="newer aquin-nb"):
        load_dictionary(path)
