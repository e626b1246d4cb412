"""The verbs about dictionaries: `session.sae.train`, `.resume`, `.sweep`, `.diff`, `.trajectory` and `.align`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..alignment import SaeAlign
from ..difference import SaeDiff, SaeTrajectory
from ..engine.sae import Architecture, SparseAutoencoder, TrainConfig
from ..jobs import Job
from ..results import SaeTrain
from ..sweep import SaeSweep
from ..telling import told
from .align import sae_align
from .diff import sae_diff, sae_trajectory
from .sweep import sae_sweep
from .train import session_resume, session_train

if TYPE_CHECKING:
    from ..session import Session


class SaeVerbs:
    """`session.sae`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __repr__(self) -> str:
        verbs = sorted(name for name in vars(type(self)) if not name.startswith("_"))
        return f"session.sae: {', '.join(verbs)} (help(session.sae.train) says how)"

    @told("sae.train", "saeTrain")
    def train(
        self,
        layer: int | str | None = None,
        *,
        config: TrainConfig | dict[str, Any] | str | Path | None = None,
        corpus: Any = None,
        text_key: str = "text",
        activations: Any = None,
        checkpoint: str | Path | None = None,
        tokens: int | None = None,
        keep_activations: bool = True,
        quick: bool = False,
        architecture: Architecture | None = None,
        d_sae: int | None = None,
        k: int | None = None,
        sparsity_coefficient: float | None = None,
        lr: float | None = None,
        steps: int | None = None,
        epochs: float | None = None,
        batch_size: int | None = None,
        seed: int | None = None,
        name: str | None = None,
        output: str | Path | None = None,
    ) -> Job[SaeTrain]:
        """Train a dictionary; returns a `Job` at once, whose view in the cell is live.

        Args:
            layer: the block whose output is read, or a hook such as "blocks.3.hook_mlp_out"; default: the catalogue's
                choice for this model. Of activations of several sites it says which.
            config: every setting there is (`TrainConfig`), as an object, a dict, or a TOML, JSON or YAML file; the
                arguments below win over it.
            corpus: a `.txt`, `.json` or `.jsonl` path, a `datasets` dataset, a hub name (streamed) or a list of texts.
                "packaged" is the text in this package. Default: OpenWebText streamed from the hub when that can be
                reached, else the packaged text; the card says which.
            text_key: the key that holds the text of a row.
            activations: an activation store or a capture to train on instead (folder or result), or a tensor
                [n, d_model]; no forward pass but those that measure the cross-entropy at the end. A pair
                (inputs, targets) trains a transcoder. `aquin_nb.sae_train` does the same without a model.
            checkpoint: train on a fine-tuned checkpoint's activations.
            tokens: rows of activations to collect; default 100,000 (2,000,000 on a GPU), 20,000 with `quick`. For
                an embedding model a row is a text.
            keep_activations: False makes activations while it trains and writes none to disk: for one run over very
                many tokens. The corpus is read several times; `resume` opens it again.
            quick: a short run to see that everything works: fewer rows and 500 steps.
            architecture: "topk" (default), "batchtopk", "relu", "jumprelu", "gated" or "matryoshka".
            d_sae: width; default from the catalogue (8 × d_model for language models, 4,096 for embeddings).
            k: active latents a row, default 32 (16 for embeddings); for relu, jumprelu and gated it is
                `sparsity_coefficient` that makes them few.
            lr, steps, epochs, batch_size, seed: see `TrainConfig`; default 3,000 steps.
            name: `load_sae(user=name)` finds it again. output: a `.pt` path of your own instead.

        A run that is cancelled, killed or runs into a full disk goes on with `resume(name)`.

        Raises:
            at once: ModelError, DictionaryError, CorpusError, StoreError, OutputError, SessionError.
            from `wait()`: the same, NoSpace, OutOfMemory, CheckpointError, and Cancelled.

        >>> job = session.sae.train(10, corpus="texts.jsonl", d_sae=4608, k=32)   # doctest: +SKIP
        >>> job.wait().verdict                                                    # doctest: +SKIP
        'usable'
        """
        return session_train(
            self._session,
            layer,
            config=config,
            corpus=corpus,
            text_key=text_key,
            activations=activations,
            checkpoint=checkpoint,
            tokens=tokens,
            keep_activations=keep_activations,
            quick=quick,
            architecture=architecture,
            d_sae=d_sae,
            k=k,
            sparsity_coefficient=sparsity_coefficient,
            lr=lr,
            steps=steps,
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
            name=name,
            output=None if output is None else str(output),
        )

    @told("sae.train", "saeTrain", named=True)
    def resume(
        self,
        name: str,
        *,
        layer: int | str | None = None,
        config: TrainConfig | dict[str, Any] | str | Path | None = None,
        corpus: Any = None,
    ) -> Job[SaeTrain]:
        """Go on with a training that was cancelled or killed, from its last checkpoint, to the same end.

        The live view continues the same curve. On a CPU with as many threads, the weights come out bit for bit as they
        would have without the stop.

        Args:
            name: that of the training. layer: when it was training several.
            config: when given, it is checked to be the one that the run began with.
            corpus: only for a training with `keep_activations=False`, where its corpus was in memory or has moved.

        Raises:
            StoreError: nothing to resume, no readable checkpoint, or activations that are gone or changed.
            DictionaryError: `config` differs; names what changed.

        >>> session.sae.resume("overnight").wait()   # doctest: +SKIP
        """
        return session_resume(self._session, name, layer, config, corpus)

    @told("sae.sweep", "saeSweep")
    def sweep(
        self,
        layers: Literal["all"] | Sequence[int | str] = "all",
        *,
        corpus: Any = None,
        text_key: str = "text",
        activations: Any = None,
        tokens: int | None = None,
        config: TrainConfig | dict[str, Any] | str | Path | None = None,
        quick: bool = False,
        architecture: Architecture | None = None,
        d_sae: int | None = None,
        k: int | None = None,
        steps: int | None = None,
        seed: int | None = None,
        name: str | None = None,
        output: str | Path | None = None,
    ) -> Job[SaeSweep]:
        """One small dictionary a layer, over one collection pass and one training pass of the same tokens.

        The table compares layers; it does not pick one, and says why (`SaeSweep.card.caution`).

        Args:
            layers: "all", or layers and hooks such as "blocks.3.hook_mlp_out".
            corpus, text_key: as `train`. tokens: rows a layer; default 50,000, 10,000 with `quick`.
            activations: a store that holds the layers already (`collect_activations`); no forward pass then.
            config: as `train`, the same for all layers; the arguments here win over it.
            d_sae: default 4 × d_model. k: default 32. steps: default 1,000, 300 with `quick`.
            name: `load_sae(user=name, layer=...)` finds each of them. output: a folder of your own instead.

        When cancelled, the dictionaries so far are kept, and `aquin_nb.sae_resume(path)` goes on with each.

        Raises:
            at once: ModelError, DictionaryError, CorpusError, StoreError, OutputError, NoSpace, SessionError.
            from `wait()`: the same, OutOfMemory, and Cancelled.

        >>> sweep = session.sae.sweep([2, 6, 10, 14], tokens=20_000).wait()   # doctest: +SKIP
        >>> sweep.frame[["layer", "fvu"]], sweep[10].path                      # doctest: +SKIP
        """
        return sae_sweep(
            self._session,
            layers,
            corpus=corpus,
            text_key=text_key,
            activations=activations,
            tokens=tokens,
            config=config,
            quick=quick,
            architecture=architecture,
            d_sae=d_sae,
            k=k,
            steps=steps,
            seed=seed,
            name=name,
            output=output,
        )

    @told("sae.diff", "saeDiff")
    def diff(
        self,
        checkpoint: str | Path,
        prompts: str | Path | Sequence[Any],
        *,
        layer: int | None = None,
        sae: SparseAutoencoder | SaeTrain | str | Path | None = None,
        by: str | None = None,
        threshold: float | None = None,
        fdr: float = 0.05,
        name: str | None = None,
        output: str | Path | None = None,
    ) -> SaeDiff:
        """Base and fine-tuned checkpoint through one dictionary, on the same tokens.

        A feature has changed when its mean activation moves by `threshold` or more and in one direction across probes:
        p is that of a sign-flip test over probes, q its false discovery rate (`engine.analysis.contrast.Contrast`).

        Args:
            checkpoint: `{step, state_dict}` in a `.pt`, a `.safetensors` file, a folder of weights, a LoRA adapter's
                folder (needs peft), or a published fine-tune's slug.
            prompts: as `capture_activations`; 50 probes or more, different ones, to tell changes from chance.
            sae: default: the bound dictionary. layer: default: the dictionary's own.
            by: a metadata key: the same comparison for each of its values; also later, `.cohorts(key)`.
            threshold: on |delta|; default: a tenth of the mean activation of the features alive in either model.
            fdr: on q.
            output: a folder that does not exist yet or is empty; default `$AQUIN_HOME/diff/<name>`.

        Raises:
            SessionError: no dictionary is bound and none is given.
            ProbeError: a prompt without a token to look at, by its row; no prompt has the key `by`.
            CheckpointError, ModelError, DictionaryError, OutputError, AquinError: a threshold or an FDR that is none.

        >>> diff = session.sae.diff("tuned.pt", "probes.jsonl", by="language")       # doctest: +SKIP
        >>> diff.n_changed, diff.advice, diff.drivers(412).frame                      # doctest: +SKIP
        """
        return sae_diff(
            self._session,
            checkpoint,
            prompts,
            layer=layer,
            sae=sae,
            by=by,
            threshold=threshold,
            fdr=fdr,
            name=name,
            output=output,
        )

    @told("sae.trajectory", "saeTrajectory")
    def trajectory(
        self,
        checkpoints: Sequence[str | Path],
        prompts: str | Path | Sequence[Any],
        *,
        layer: int | None = None,
        sae: SparseAutoencoder | SaeTrain | str | Path | None = None,
        threshold: float | None = None,
        fdr: float = 0.05,
        name: str | None = None,
        output: str | Path | None = None,
    ) -> SaeTrajectory:
        """Several checkpoints of one training run against their base: when does which feature change?

        The base is run once and each checkpoint once; one checkpoint is in memory at a time. They are shown in the
        order of the steps they name.

        Args:
            checkpoints: each as in `diff`. The others: as in `diff`; default output `$AQUIN_HOME/trajectory/<name>`.

        Raises:
            CheckpointError: no list, an empty one, or as `diff`; the others as `diff`.

        >>> session.sae.trajectory(["step100.pt", "step200.pt"], "probes.jsonl").figure()    # doctest: +SKIP
        """
        return sae_trajectory(
            self._session,
            checkpoints,
            prompts,
            layer=layer,
            sae=sae,
            threshold=threshold,
            fdr=fdr,
            name=name,
            output=output,
        )

    @told("sae.align", "saeAlign")
    def align(
        self,
        a: SparseAutoencoder | SaeTrain | str | Path,
        b: SparseAutoencoder | SaeTrain | str | Path | None = None,
        *,
        on: Literal["decoder", "encoder", "both", "firings"] = "decoder",
        activations: Any = None,
        texts: Sequence[str] | None = None,
        rows: int = 32_768,
        max_features: int | None = None,
        thresholds: Any = None,
        time_limit: float | None = None,
        name: str | None = None,
        output: str | Path | None = None,
    ) -> SaeAlign:
        """`align(other)`: the bound dictionary against another one; `align(a, b)`: any two. See `aquin_nb.sae_align`.

        `texts` run through the session's model.

        Raises:
            SessionError: only one was given and none is bound.
            DictionaryError, StoreError, ProbeError, OutOfMemory, OutputError: as `sae_align`.
        """
        left, right = (self._session.bound()[0], a) if b is None else (a, b)
        model = self._session.model
        return sae_align(
            left, right, on=on, activations=activations, texts=texts, model=model, rows=rows, max_features=max_features,
            thresholds=thresholds, time_limit=time_limit, name=name, output=output,
        )  # fmt: skip
