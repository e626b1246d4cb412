"""Are the activations we hook the reference's own? Max abs difference, float32.

    python benchmarks/equality.py [--model smollm2-135m] [--embedding minilm]

Language model: `hook_resid_post` through TransformerLens and through our Hugging Face backend, against Hugging Face's
own `hidden_states[L + 1]` at five layers. Embedding model: our mean pooling of the last layer against
sentence-transformers.
"""

from __future__ import annotations

import argparse

import torch
from report import write
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForCausalLM

from aquin_nb.engine.models import fetch, load_model

TEXTS = [
    "In the beginning God created the heavens and the earth.",
    "The function returns a list of the files in a directory, sorted by name.",
    "She was the youngest of the two daughters of a most affectionate father.",
    "dog: a member of the genus Canis that has been domesticated by man since prehistoric times",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--embedding", default="minilm")
    args = parser.parse_args()
    rows = []

    reference = AutoModelForCausalLM.from_pretrained(fetch(args.model), dtype=torch.float32)
    for backend in ("transformer-lens", "huggingface"):
        model = load_model(args.model, dtype="float32", backend=backend)
        tokens = model.tokenize(TEXTS)
        with torch.no_grad():
            states = reference(tokens.ids, output_hidden_states=True).hidden_states
        # hidden_states[-1] comes after the final norm, so the last block has no counterpart there.
        layers = [round(i * (model.n_layers - 2) / 4) for i in range(5)]
        ours = model.residuals(tokens, layers)
        for layer in layers:
            difference = (ours[layer] - states[layer + 1])[tokens.mask].abs().max()
            rows.append({"what": f"{args.model} {backend}", "layer": layer, "max abs diff": float(difference)})

    model = load_model(args.embedding, dtype="float32")
    last = model.n_layers - 1
    ours = torch.nn.functional.normalize(model.pooled(model.tokenize(TEXTS), [last])[last], dim=1)
    theirs = SentenceTransformer(str(fetch(args.embedding)), device="cpu").encode(
        TEXTS, convert_to_tensor=True, normalize_embeddings=True
    )
    rows.append(
        {
            "what": f"{args.embedding} sentence-transformers",
            "layer": last,
            "max abs diff": float((ours - theirs).abs().max()),
        }
    )
    write("equality", vars(args), rows)


if __name__ == "__main__":
    main()
