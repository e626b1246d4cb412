"""The verbs about dictionaries: `session.sae.train`, `.diff` and `.align`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.sae import Architecture, SparseAutoencoder
from ..jobs import Job
from ..results import Capture, SaeAlign, SaeDiff, SaeTrain
from .align import sae_align
from .diff import sae_diff
from .train import sae_train

if TYPE_CHECKING:
    from ..session import Session


class SaeVerbs:
    """`session.sae`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def train(
        self,
        layer: int | None = None,
        *,
        corpus: Any = None,
        text_key: str = "text",
        activations: str | Path | Capture | SaeTrain | None = None,
        checkpoint: str | Path | None = None,
        tokens: int | None = None,
        quick: bool = False,
        architecture: Architecture = "topk",
        d_sae: int | None = None,
        k: int | None = None,
        l1: float | None = None,
        lr: float | None = None,
        steps: int | None = None,
        batch_size: int | None = None,
        seed: int = 0,
        name: str | None = None,
        output: str | Path | None = None,
    ) -> Job[SaeTrain]:
        """Train a dictionary; returns a `Job` at once, whose view in the cell is live.

        Args:
            layer: the block whose output is read; default: the catalogue's choice for this model.
            corpus: a `.txt`, `.json` or `.jsonl` path, a `datasets` dataset, a hub name (streamed) or a list of texts.
                "packaged" is the text in this package. Default: OpenWebText streamed from the hub when that can be
                reached, else the packaged text; the card says which.
            text_key: the key that holds the text of a row.
            activations: an activation store or a capture to train on instead (folder or result); no forward pass.
            checkpoint: train on a fine-tuned checkpoint's activations.
            tokens: rows of activations to collect; default 100,000 (2,000,000 on a GPU), 20,000 with `quick`. For
                an embedding model a row is a text.
            quick: a short run to see that everything works: fewer rows and 500 steps.
            d_sae: width; default from the catalogue (8 × d_model for language models, 4,096 for embeddings).
            k: active latents a row for "topk", default 32 (16 for embeddings). l1: coefficient for "relu".
            lr, steps, batch_size, seed: see `engine.sae.TrainOptions`.
            name: `load_sae(user=name)` finds it again. output: a `.pt` path of your own instead.

        Raises:
            at once: ModelError, DictionaryError, CorpusError, StoreError, OutputError, SessionError.
            from `wait()`: the same, NoSpace, OutOfMemory, CheckpointError, and Cancelled.

        >>> job = session.sae.train(10, corpus="texts.jsonl", d_sae=4608, k=32)   # doctest: +SKIP
        >>> job.wait().verdict                                                    # doctest: +SKIP
        'usable'
        """
        return sae_train(
            self._session,
            layer,
            corpus=corpus,
            text_key=text_key,
            activations=activations,
            checkpoint=checkpoint,
            tokens=tokens,
            quick=quick,
            name=name,
            output=output,
            architecture=architecture,
            d_sae=d_sae,
            k=k,
            l1=l1,
            lr=lr,
            steps=steps,
            batch_size=batch_size,
            seed=seed,
        )

    def diff(
        self,
        checkpoint: str | Path,
        prompts: str | Path | Sequence[Any],
        *,
        layer: int | None = None,
        sae: SparseAutoencoder | SaeTrain | str | Path | None = None,
        name: str | None = None,
        output: str | Path | None = None,
    ) -> SaeDiff:
        """Base and fine-tuned checkpoint through one dictionary, on the same tokens.

        Args:
            checkpoint: `{step, state_dict}` in a `.pt`, or a published fine-tune's folder or slug.
            prompts: as `capture_activations`.
            sae: default: the bound dictionary. layer: default: the dictionary's own.
            output: a folder that does not exist yet or is empty; default `$AQUIN_HOME/diff/<name>`.

        Raises:
            SessionError: no dictionary is bound and none is given.
            CheckpointError, ProbeError, DictionaryError, OutputError.
        """
        return sae_diff(self._session, checkpoint, prompts, layer=layer, sae=sae, name=name, output=output)

    def align(
        self,
        a: SparseAutoencoder | SaeTrain | str | Path,
        b: SparseAutoencoder | SaeTrain | str | Path | None = None,
        *,
        max_features: int | None = None,
        name: str | None = None,
        output: str | Path | None = None,
    ) -> SaeAlign:
        """`align(other)`: the bound dictionary against another one; `align(a, b)`: any two. See `sae_align`.

        Raises:
            SessionError: only one was given and none is bound.
        """
        left, right = (self._session.bound()[0], a) if b is None else (a, b)
        return sae_align(left, right, max_features=max_features, name=name, output=output)
