"""A loaded model: text in, activations at any of its sites and logits out."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...errors import ModelError, OutOfMemory
from .backends import Backend
from .info import ModelInfo
from .sites import Site, layer_of, unknown
from .taps import Change
from .tokens import TokenPolicy, Tokens, batch, encode, framed, tokenize
from .untyped import HFTokenizer

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory")  # CUDA and MPS; the CPU allocator


class Model:
    """One loaded model; made by `load_model`.

    A model is locked while it runs (`lock`), so several threads may share it.

    >>> from aquin_nb.engine.models import load_model
    >>> model = load_model("tiny", device="cpu", dtype="float32")
    >>> tokens = model.tokenize(["In the beginning"])
    >>> {layer: tuple(x.shape)[2] for layer, x in model.residuals(tokens, [2, 5]).items()}
    {2: 128, 5: 128}
    """

    def __init__(self, info: ModelInfo, tokenizer: HFTokenizer, backend: Backend, policy: TokenPolicy) -> None:
        self.info = info
        self.tokenizer = tokenizer
        self.backend = backend
        self.policy = policy
        self.lock = threading.RLock()
        self._strings: dict[int, str] = {}
        self._sites: dict[str, Site] = {}

    def __repr__(self) -> str:
        i = self.info
        tuned = f", checkpoint step {i.checkpoint.step}" if i.checkpoint else ""
        return f"Model({i.name}: {i.mode}, {i.n_layers} layers, d_model {i.d_model}, {i.dtype} on {i.device}{tuned})"

    @property
    def mode(self) -> str:
        return self.info.mode

    @property
    def n_layers(self) -> int:
        return self.info.n_layers

    @property
    def d_model(self) -> int:
        return self.info.d_model

    @property
    def device(self) -> torch.device:
        return torch.device(self.info.device)

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.info.dtype)
        return dtype

    @property
    def bos_id(self) -> int | None:
        """The id put in front of every input of a language model; None where the tokenizer has none."""
        return self.policy.bos_id

    @property
    def eos_id(self) -> int | None:
        return self.policy.eos_id

    @property
    def context(self) -> int:
        """The longest input in tokens, BOS included."""
        return self.policy.context

    @property
    def text_limit(self) -> int:
        """Tokens read of one text unless asked otherwise, BOS or the frame included.

        The context, at most 2,048; for an embedding model at most the length it was trained at, where it says so.
        """
        return self.policy.default_max

    def hook(self, layer: int) -> str:
        """The field's name of the place read: `blocks.<layer>.hook_resid_post`."""
        return f"blocks.{self.check_layer(layer)}.hook_resid_post"

    def site(self, spec: int | str | Site) -> Site:
        """The place that `spec` names: a layer's number (its `hook_resid_post`), a hook's name, or a module's path.

        What each name reads is told in `sites.py`. The first use of any site runs six tokens through the model, once,
        to find where its sites are and how wide.

        Raises:
            ModelError: this model has no such place, or cannot be read there: says why and what it has.

        >>> from aquin_nb.engine.models import load_model
        >>> model = load_model("tiny", device="cpu", dtype="float32")
        >>> model.site(2)
        Site(hook='blocks.2.hook_resid_post', layer=2, width=128)
        >>> model.site("model.layers.3.mlp.up_proj")
        Site(hook='model.layers.3.mlp.up_proj', layer=3, width=256)
        """
        name = spec.hook if isinstance(spec, Site) else spec if isinstance(spec, str) else self.hook(spec)
        if name not in self._sites:
            with self.lock:
                survey = self.backend.survey
            if name not in survey.taps:
                raise ModelError(unknown(name, self.info.name, survey, self.backend.blocks))
            self._sites[name] = Site(name, layer_of(name, self.backend.blocks), survey.widths[name])
        site = self._sites[name]
        if isinstance(spec, Site) and spec != site:
            raise ModelError(f"{spec} belongs to another model; here it is {site}.")
        return site

    def check_layer(self, layer: int) -> int:
        """`layer` as an int.

        Raises:
            ModelError: it is not a whole number from 0 to n_layers - 1.
        """
        choices = f"{self.info.name} has layers 0 to {self.n_layers - 1}."
        try:
            index = operator.index(layer)
        except TypeError:
            index = None
        if index is None or isinstance(layer, bool):
            kind = "None" if layer is None else f"a {type(layer).__name__}"
            raise ModelError(f"layer={layer!r:.60} is {kind}, not a whole number; {choices}")
        if not 0 <= index < self.n_layers:
            raise ModelError(f"layer={layer!r}: {choices}")
        return index

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text as it stands (no BOS, no truncation), for callers that pack contexts themselves."""
        return encode(self.tokenizer, texts)

    def framed(self, ids: Sequence[int]) -> list[int]:
        """One row of input: a text's ids with BOS in front, or in an embedding model's [CLS] ... [SEP]."""
        return framed(ids, self.policy)

    def batch(self, rows: Sequence[Sequence[int]]) -> Tokens:
        """Rows of ids (BOS already in front) as one right-padded batch with its masks."""
        return batch(rows, self.policy)

    def tokenize(self, texts: Sequence[str], *, max_tokens: int | None = None) -> Tokens:
        """A batch of texts; see `tokens.tokenize`. Default length: `text_limit`.

        Raises:
            ModelError: texts is one string, or max_tokens is outside the model's context.
        """
        return tokenize(self.tokenizer, self.policy, texts, max_tokens)

    def activations(self, tokens: Tokens, sites: Sequence[int | str | Site]) -> dict[str, Tensor]:
        """What is at `sites`, {site.hook: [b, t, width]}, in one forward pass, on the model's device, in its dtype.

        Nothing after the last site that is reached is run. Values at padding positions mean nothing. A batch that does
        not fit into the device's memory is run in halves, and those in halves again, down to single rows.

        Raises:
            ModelError: no site, one that this model does not have, or rows longer than the context.
            OutOfMemory: a single row does not fit; says what to change.

        >>> from aquin_nb.engine.models import load_model
        >>> model = load_model("tiny", device="cpu", dtype="float32")
        >>> sites = [model.site("blocks.1.hook_mlp_out"), model.site("model.layers.1.mlp.up_proj")]
        >>> x = model.activations(model.tokenize(["In the beginning"]), sites)
        >>> [tuple(x[site.hook].shape[2:]) for site in sites]
        [(128,), (256,)]
        """
        wanted = list(dict.fromkeys(self.site(site) for site in sites))
        if not wanted:
            raise ModelError("sites is empty: name at least one.")
        rows, width = self._checked(tokens)
        if rows == 0:
            return {s.hook: torch.empty((0, width, s.width), dtype=self.dtype, device=self.device) for s in wanted}
        ids = tokens.ids.to(self.device)
        mask = tokens.mask.to(self.device) if self.mode == "embedding" else None
        hooks = [site.hook for site in wanted]

        def run(part: slice) -> list[Tensor]:
            out = self.backend.activations(ids[part], None if mask is None else mask[part], hooks)
            return [out[hook] for hook in hooks]

        with self.lock:
            return dict(zip(hooks, self._forward(run, 0, rows, width), strict=True))

    def residuals(self, tokens: Tokens, layers: Sequence[int]) -> dict[int, Tensor]:
        """Block outputs {layer: [b, t, d_model]}: `activations` at the layers' `hook_resid_post`.

        Raises:
            ModelError: no layer, an unknown layer, or rows longer than the context.
            OutOfMemory: a single row does not fit; says what to change.
        """
        hooks = {layer: self.hook(layer) for layer in sorted({self.check_layer(layer) for layer in layers})}
        if not hooks:
            raise ModelError("layers is empty: name at least one layer.")
        found = self.activations(tokens, list(hooks.values()))
        return {layer: found[hook] for layer, hook in hooks.items()}

    def logits(self, tokens: Tokens, *, replace: tuple[int | str | Site, Change] | None = None) -> Tensor:
        """What a language model predicts after each token: logits [b, t, vocabulary], on its device, in its dtype.

        `replace` = (site, fn) runs the model with what is at that site replaced at the analysed tokens
        (`tokens.analysed`: not BOS, position 0, special tokens and padding): fn is given their rows [n, width] in
        reading order, in the model's dtype, and returns as many, of any float dtype and device. A layer's number means
        its `hook_resid_post`. All sites can be replaced but those that only one of two branches reads
        (`hook_resid_mid` of a pre-norm block) and `hook_normalized`. A batch that does not fit into memory is run in
        halves as in `activations`; fn then sees one part at a time.

        Raises:
            ModelError: an embedding model, an unknown site or one that cannot be replaced, no rows, rows longer than
                the context, or an fn that returns another shape.
            OutOfMemory: a single row does not fit, or all logits together; says what to change.

        >>> from aquin_nb.engine.models import load_model
        >>> model = load_model("tiny", device="cpu", dtype="float32")
        >>> tokens = model.tokenize(["In the beginning"])
        >>> same = model.logits(tokens, replace=(2, lambda x: x))
        >>> torch.equal(same, model.logits(tokens))
        True
        """
        if self.mode != "llm":
            raise ModelError(f"{self.info.name} is an embedding model: it predicts no tokens, so it has no logits.")
        rows, width = self._checked(tokens)
        if rows == 0:
            raise ModelError("There are no rows of tokens to run; give at least one text.")
        ids, analysed = tokens.ids.to(self.device), tokens.analysed.to(self.device)
        where = None if replace is None else (self._replaceable(replace[0]), replace[1])

        def run(part: slice) -> list[Tensor]:
            if where is None:
                return [self.backend.logits(ids[part], None)]
            hook, fn = where

            def change(x: Tensor) -> Tensor:
                out, chosen = x.clone(), analysed[part]
                given = x[chosen]
                made = fn(given)
                if made.shape != given.shape:
                    shapes = f"rows {list(given.shape)} of {hook} by {list(made.shape)}"
                    raise ModelError(f"replace= would put {shapes}; the shapes must be equal.")
                out[chosen] = made.to(out)
                return out

            return [self.backend.logits(ids[part], (hook, change))]

        with self.lock:
            return self._forward(run, 0, rows, width)[0]

    def _replaceable(self, spec: int | str | Site) -> str:
        hook = self.site(spec).hook
        if not self.backend.survey.taps[hook].replaceable:
            raise ModelError(
                f"{hook} of {self.info.name} can be read, not replaced: the model would go on with the old value"
                " beside the new one. Replace hook_resid_post, hook_attn_out or hook_mlp_out."
            )
        return hook

    def _checked(self, tokens: Tokens) -> tuple[int, int]:
        """Rows and width of a batch that the model can read."""
        rows, width = tokens.ids.shape
        if width > self.context:
            raise ModelError(f"A row has {width} tokens; the context of {self.info.name} is {self.context}.")
        return rows, width

    def _forward(self, run: Callable[[slice], list[Tensor]], start: int, stop: int, width: int) -> list[Tensor]:
        """What `run` gives for the rows from `start` to `stop`, in one pass or, where that does not fit, in halves."""
        whole = self._fitting(lambda: run(slice(start, stop)))
        if whole is None and stop - start > 1:
            middle = (start + stop) // 2
            parts = [self._forward(run, *half, width) for half in ((start, middle), (middle, stop))]
            whole = self._fitting(lambda: [torch.cat(pair) for pair in zip(*parts, strict=True)])
        if whole is None:
            raise OutOfMemory(self._too_large(stop - start, width))
        return whole

    def _fitting(self, work: Callable[[], list[Tensor]]) -> list[Tensor] | None:
        """What `work` gives, or None when the device's memory is too small for it."""
        try:
            return work()
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            if not any(sign in str(error).lower() for sign in _OUT_OF_MEMORY):
                raise
        # Outside the handler: the traceback would keep the activations alive that must be freed for the next try.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _too_large(self, rows: int, width: int) -> str:
        ways = ["use shorter texts", "a smaller model"]
        if self.dtype == torch.float32:
            ways.append("dtype='bfloat16'")
        if self.device.type != "cpu":
            ways.append("device='cpu'")
        what = f"{rows} rows of {width:,} tokens do" if rows > 1 else f"One row of {width:,} tokens does"
        named = f"{self.info.name}, {self.info.dtype}"
        return f"{what} not fit in the memory of {self.device} ({named}); {', '.join(ways[:-1])} or {ways[-1]}."

    def pooled(self, tokens: Tokens, layers: Sequence[int]) -> dict[int, Tensor]:
        """{layer: [b, d_model]} float32 on the model's device: the mean over each row's analysed tokens.

        In embedding mode these are all real tokens, and the last layer's mean is what sentence-transformers calls
        mean pooling. In a language model BOS stays out: its norm would drown the rest. A row without analysed tokens
        gives zeros.
        """
        weight = tokens.analysed.to(self.device, torch.float32).unsqueeze(-1)
        count = weight.sum(1).clamp(min=1)
        return {
            layer: torch.where(weight > 0, value.float(), 0.0).sum(1) / count
            for layer, value in self.residuals(tokens, layers).items()
        }

    def token_strings(self, ids: Sequence[int]) -> list[str]:
        """How each token reads on its own, spaces kept; a fragment of a multi-byte character is shown as its piece."""
        return [self._string(int(index)) for index in ids]

    def _string(self, index: int) -> str:
        if index not in self._strings:
            piece = str(self.tokenizer.convert_ids_to_tokens(index))
            if "▁" in piece:  # sentencepiece: decoding one token alone would drop its leading space
                text = piece.replace("▁", " ")
            else:
                text = self.tokenizer.decode([index], skip_special_tokens=False, clean_up_tokenization_spaces=False)
            self._strings[index] = piece if "\ufffd" in text or not text else text
        return self._strings[index]
