#!/usr/bin/env python3
"""Makes tests/golden/distill/golden.safetensors: divergences between two tiny models and the student's gradients.

  make_distill.py [OUT]     OUT: the file to write (default: distill/golden.safetensors beside this script)

Needs torch and transformers. Student and teacher are train/llama and train/qwen2, the tokens those of batches[0] of the
student, the mean over the tokens that its loss_mask counts. Computed in float64 by torch's own kl_div and autograd.
"""
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

CASES = {  # name: (reverse, top_k, temperature)
    "forward": (False, 0, 2.0),
    "reverse": (True, 0, 1.0),
    "forward_top": (False, 5, 1.0),
    "reverse_top": (True, 5, 0.7),
}
PARAMETERS = ["model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight", "model.norm.weight"]


def outcomes(log_p, top):
    """Log-probabilities of the tokens `top` [.., k], and of all others together."""
    chosen = log_p.gather(-1, top)
    rest = log_p.masked_fill(torch.zeros_like(log_p, dtype=torch.bool).scatter(-1, top, True), float("-inf"))
    return torch.cat([chosen, rest.logsumexp(-1, keepdim=True)], -1)


def main() -> None:
    here = Path(__file__).resolve().parent
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else here / "distill" / "golden.safetensors"
    data = load_file(here / "train" / "llama" / "golden.safetensors")
    ids, mask = data["batches"][0], data["loss_mask"][:, 1:].double()
    student, teacher = (
        transformers.AutoModelForCausalLM.from_pretrained(here / "train" / name, dtype=torch.float64)
        for name in ("llama", "qwen2")
    )
    with torch.no_grad():
        wanted = teacher(ids).logits[:, :-1]
    tensors = {}
    for name, (reverse, top_k, temperature) in CASES.items():
        student.zero_grad()
        log_q = (student(ids).logits[:, :-1] / temperature).log_softmax(-1)
        log_p = (wanted / temperature).log_softmax(-1)
        if top_k:
            top = log_p.topk(top_k, -1).indices
            log_q, log_p = outcomes(log_q, top), outcomes(log_p, top)
        of, to = (log_p, log_q) if reverse else (log_q, log_p)
        kl = torch.nn.functional.kl_div(of, to, log_target=True, reduction="none").sum(-1)
        kl = (kl * mask).sum() / mask.sum()
        (temperature**2 * kl).backward()
        tensors[f"{name}.kl"] = kl.detach().reshape(1).float()
        for parameter in PARAMETERS:
            tensors[f"{name}.grad.{parameter}"] = student.get_parameter(parameter).grad.float().contiguous()
        print(f"{name}: {kl.item():.6f}")
    save_file(tensors, out)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")


if __name__ == "__main__":
    main()
