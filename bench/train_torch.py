#!/usr/bin/env python3
"""The rival of `fathom bench --train`: the same steps by transformers' Llama in f32 with torch's AdamW.

Prints {"tokens_per_s": N}: the median of --steps timed steps (forward, backward, gradient norm, clip, update) on one
random batch. Needs torch and transformers.

  fathom bench --train recipes/shakespeare/llama.json --compare \\
    'python3 bench/train_torch.py {config} --sequences {sequences} --context {context} --threads {threads}'
"""
import argparse
import json
import statistics
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

BYTES_VOCABULARY = 256  # where the configuration leaves the vocabulary to the text, as `fathom bench --train` has it


def build(path):
    with open(path, encoding="utf-8") as file:
        values = json.load(file)
    if values.get("model_type") != "llama":
        raise SystemExit(f"{path}: expected model_type llama, found {values.get('model_type')}")
    values.setdefault("vocab_size", BYTES_VOCABULARY)
    config = LlamaConfig(**values)
    config.use_cache = False
    torch.manual_seed(0)
    return LlamaForCausalLM(config).float().train()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a config.json of model_type llama")
    parser.add_argument("--sequences", type=int, default=12)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="the model through torch.compile")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    model = build(args.config)
    # The decay is 0.1 for matrices alone, as in fathom's optimizer.
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    ids = torch.randint(0, model.config.vocab_size, (args.sequences, args.context + 1))
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].reshape(-1)
    forward = torch.compile(model) if args.compile else model

    def step():
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        logits = forward(input_ids=inputs).logits
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return time.perf_counter() - start

    for _ in range(2):
        step()
    seconds = statistics.median(step() for _ in range(args.steps))
    print(json.dumps({"tokens_per_s": args.sequences * args.context / seconds}))


if __name__ == "__main__":
    main()
