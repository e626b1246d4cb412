"""Train `tiny`, the 1.5 M-parameter Llama that ships inside the package, and the text sample beside it.

    python tools/train_tiny.py WORKDIR --minutes 80      # one CPU core is enough; writes WORKDIR/tiny

Writes `model.safetensors` (float16), `config.json`, the tokenizer, `sample.jsonl` (about 1 MB of the same texts)
and `card.json` with the loss it measured on held-out documents. Every run begins a context with BOS, so that
whatever attention parks on position 0 stays on a token that nobody analyses.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from tiny_corpus import Document, documents
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCAB, CONTEXT, BATCH = 4096, 128, 32
BOS, EOS = "<|bos|>", "<|eos|>"
HELD_OUT = 0.02
SAMPLE_BYTES = 1_000_000


def train_tokenizer(docs: list[Document]) -> PreTrainedTokenizerFast:
    """Byte-level BPE, so that no text is ever out of vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[BOS, EOS], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator((d["text"] for d in docs), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=EOS, model_max_length=512
    )


def pack(docs: list[Document], tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    """Token ids [contexts, CONTEXT]: BOS, then documents in a row with EOS between them."""
    stream: list[int] = []
    for ids in tokenizer([d["text"] for d in docs], add_special_tokens=False)["input_ids"]:
        stream += [*ids, tokenizer.eos_token_id]
    rows = len(stream) // (CONTEXT - 1)
    body = torch.tensor(stream[: rows * (CONTEXT - 1)]).view(rows, CONTEXT - 1)
    return torch.cat([torch.full((rows, 1), tokenizer.bos_token_id), body], dim=1)


def build_model() -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )


@torch.no_grad()
def held_out_loss(model: LlamaForCausalLM, rows: torch.Tensor) -> float:
    """Mean nats per token."""
    model.eval()
    losses = [model(input_ids=r, labels=r).loss.item() for r in rows.split(BATCH)]
    model.train()
    return sum(losses) / len(losses)


def learning_rate(progress: float, step: int, peak: float) -> float:
    """Warm up for 100 steps, hold, and fall linearly to zero over the last 30 % of the time."""
    return peak * min(1.0, (step + 1) / 100) * min(1.0, (1 - progress) / 0.3)


def sample(docs: list[Document]) -> list[Document]:
    """Whole documents, or the first 6,000 characters of long ones, until SAMPLE_BYTES are full."""
    out: list[Document] = []
    total = 0
    for doc in docs:
        text = doc["text"][:6000]
        total += len(text.encode())
        if total > SAMPLE_BYTES:
            break
        out.append({"source": doc["source"], "text": text})
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--minutes", type=float, default=80, help="CPU minutes to train for")
    parser.add_argument("--muon", action="store_true", help="Muon for the matrices inside the layers")
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", default="tiny")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    out = args.work / args.out

    docs = documents(args.work)
    cut = int(len(docs) * HELD_OUT)
    held, train = docs[:cut], docs[cut:]
    tokenizer = train_tokenizer(train)
    tokenizer.save_pretrained(out)
    train_rows, held_rows = pack(train, tokenizer), pack(held, tokenizer)[:600]
    with open(out / "sample.jsonl", "w", encoding="utf-8") as sink:
        for doc in sample(train):
            sink.write(json.dumps(doc, ensure_ascii=False) + "\n")

    model = build_model()
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters:,} parameters, {train_rows.numel():,} training tokens", flush=True)
    inner = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for p in model.parameters() if not any(p is q for q in inner)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest if args.muon else model.parameters(), lr=args.lr, weight_decay=0.05, betas=(0.9, 0.95))
    ]
    if args.muon:
        optimizers.append(torch.optim.Muon(inner, lr=args.lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"))

    budget, began, step, order, at = args.minutes * 60, time.process_time(), 0, torch.randperm(len(train_rows)), 0
    next_report, running = 0.0, math.nan
    while (progress := (time.process_time() - began) / budget) < 1:
        if at + BATCH > len(order):
            order, at = torch.randperm(len(train_rows)), 0
        rows = train_rows[order[at : at + BATCH]]
        at += BATCH
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(progress, step, args.lr)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=rows, labels=rows).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        step += 1
        running = loss.item() if math.isnan(running) else 0.98 * running + 0.02 * loss.item()
        if progress >= next_report:
            next_report = progress + min(0.05, 0.5 / args.minutes)
            print(f"{progress:6.1%} step {step} tokens {step * BATCH * CONTEXT:,} loss {running:.3f}", flush=True)

    loss_value = held_out_loss(model, held_rows)
    model.eval().to(torch.float16).save_pretrained(out)
    card = {
        "parameters": parameters,
        "steps": step,
        "tokens_seen": step * BATCH * CONTEXT,
        "training_tokens": train_rows.numel(),
        "epochs": round(step * BATCH / len(train_rows), 2),
        "held_out_loss_nats_per_token": round(loss_value, 4),
        "held_out_tokens": held_rows.numel(),
        "cpu_minutes": args.minutes,
        "sources": sorted({d["source"] for d in docs}),
    }
    (out / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    print(json.dumps(card, indent=2))


if __name__ == "__main__":
    main()
