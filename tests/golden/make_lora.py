#!/usr/bin/env python3
"""Makes tests/golden/lora: small adapters written by the peft library, and the logits of peft with them.

  make_lora.py [OUT]     OUT: where to write (default: lora beside this script)

Needs torch, transformers and peft. Each folder holds an adapter for the model of tests/golden/models that has its name,
as peft saves it, and golden.safetensors: input_ids [1, T] i64 and logits [1, T, V] f32, computed in float32.
"""
import json
import sys
from pathlib import Path

import peft
import torch
import transformers
from safetensors.torch import save_file

TOKENS = 12
CASES = {
    "llama-tied": {"targets": ["q_proj", "k_proj", "v_proj", "down_proj"], "r": 2, "alpha": 5, "rslora": False},
    "v3": {"targets": ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "o_proj"], "r": 2, "alpha": 3, "rslora": True},
}


def make(models: Path, out: Path, name: str, case: dict) -> None:
    torch.manual_seed(7)
    base = transformers.AutoModelForCausalLM.from_pretrained(models / name, dtype=torch.float32)
    config = peft.LoraConfig(
        r=case["r"],
        lora_alpha=case["alpha"],
        target_modules=case["targets"],
        use_rslora=case["rslora"],
        task_type="CAUSAL_LM",
        base_model_name_or_path=name,
    )
    model = peft.get_peft_model(base, config).eval()
    for parameter_name, parameter in model.named_parameters():
        if "lora_B" in parameter_name:  # peft starts B at 0, which would test nothing
            torch.nn.init.normal_(parameter, std=0.3)
    ids = torch.randint(2, base.config.vocab_size, (1, TOKENS))
    with torch.no_grad():
        logits = model(ids).logits
        plain = transformers.AutoModelForCausalLM.from_pretrained(models / name, dtype=torch.float32)(ids).logits
    change = (logits - plain).abs().max() / plain.abs().max()
    folder = out / name
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    settings = json.loads((folder / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = name  # without the maker's own folders
    settings["target_modules"] = sorted(settings["target_modules"])
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    save_file({"input_ids": ids, "logits": logits.contiguous()}, folder / "golden.safetensors")
    (folder / "adapter_model.safetensors").chmod(0o644)
    print(f"{name}: the adapter moves logits by up to {change:.2f} of the largest; peft {peft.__version__}")


def main() -> None:
    here = Path(__file__).resolve().parent
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else here / "lora"
    for name, case in CASES.items():
        make(here / "models", out, name, case)


if __name__ == "__main__":
    main()
