"""Makes tiny random Hugging Face checkpoints of many families and options, with what transformers computes from them.

    python3 make_hub_fixtures.py OUT

Each folder of OUT holds config.json, model.safetensors and expected.safetensors: in/NAME are inputs, out/NAME outputs in float32 with eager
attention, out/hidden.K hidden states (0 is the embeddings), out/attention.K attention maps. HUB_FIXTURES=OUT runs the interop tests over them.
"""

import inspect
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

VOCABULARY = 131
LENGTHS = (11, 7, 4)
TEXT = dict(vocab_size=VOCABULARY, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40, max_position_embeddings=32)
DISTIL = dict(vocab_size=VOCABULARY, dim=24, n_layers=2, n_heads=4, hidden_dim=40, max_position_embeddings=32)
GPT2 = dict(vocab_size=VOCABULARY, n_embd=24, n_layer=2, n_head=4, n_positions=32, bos_token_id=1, eos_token_id=2)
DECODER = dict(
    vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
    max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)
IMAGE = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40, image_size=24, patch_size=6)
LABELS = {"id2label": {0: "no", 1: "yes", 2: "maybe"}, "label2id": {"no": 0, "yes": 1, "maybe": 2}}
CLIP_TEXT = dict(vocab_size=VOCABULARY, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40, max_position_embeddings=20)
CLIP_IMAGE = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40, image_size=24, patch_size=6)


def cases():
    """Name, class, options, kind of input."""
    for family, base in (("Bert", {**TEXT, "type_vocab_size": 2}), ("Roberta", {**TEXT, "type_vocab_size": 1, "pad_token_id": 1})):
        name = family.lower()
        yield f"{name}-model", f"{family}Model", base, "text"
        yield f"{name}-mlm-gelu-new", f"{family}ForMaskedLM", {**base, "hidden_act": "gelu_new"}, "text"
        yield f"{name}-mlm-relu-eps", f"{family}ForMaskedLM", {**base, "hidden_act": "relu", "layer_norm_eps": 1e-3}, "text"
        yield f"{name}-mlm-untied", f"{family}ForMaskedLM", {**base, "tie_word_embeddings": False}, "text"
        yield f"{name}-classes", f"{family}ForSequenceClassification", {**base, **LABELS, "classifier_dropout": 0.3}, "text"
        yield f"{name}-tokens", f"{family}ForTokenClassification", {**base, **LABELS}, "text"
        yield f"{name}-spans", f"{family}ForQuestionAnswering", base, "text"
        yield f"{name}-choice", f"{family}ForMultipleChoice", base, "choice"
        yield f"{name}-one-head", f"{family}Model", {**base, "num_attention_heads": 1, "num_hidden_layers": 1}, "text"
    yield "bert-next", "BertForNextSentencePrediction", {**TEXT, "type_vocab_size": 2}, "text"
    yield "bert-three-types", "BertModel", {**TEXT, "type_vocab_size": 3}, "text"
    for head in ("Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"):
        yield f"distilbert-{head.lower()}", f"DistilBert{head}", DISTIL, "plain"
    yield "distilbert-choice", "DistilBertForMultipleChoice", DISTIL, "plain-choice"
    yield "distilbert-sinusoidal", "DistilBertForMaskedLM", {**DISTIL, "sinusoidal_pos_embds": True}, "plain"
    yield "distilbert-relu", "DistilBertModel", {**DISTIL, "activation": "relu"}, "plain"

    for head in ("Model", "LMHeadModel", "ForTokenClassification", "ForQuestionAnswering"):
        yield f"gpt2-{head.lower()}", f"GPT2{head}", GPT2, "ids"
    yield "gpt2-classes", "GPT2ForSequenceClassification", {**GPT2, **LABELS, "pad_token_id": 0}, "plain"
    yield "gpt2-padded", "GPT2LMHeadModel", GPT2, "plain"
    yield "gpt2-inner-relu", "GPT2LMHeadModel", {**GPT2, "n_inner": 30, "activation_function": "relu"}, "ids"
    yield "gpt2-scaled-by-layer", "GPT2LMHeadModel", {**GPT2, "scale_attn_by_inverse_layer_idx": True}, "ids"
    yield "gpt2-unscaled", "GPT2LMHeadModel", {**GPT2, "scale_attn_weights": False}, "ids"
    yield "gpt2-untied", "GPT2LMHeadModel", {**GPT2, "tie_word_embeddings": False}, "ids"

    for head in ("Model", "ForCausalLM", "ForTokenClassification", "ForQuestionAnswering"):
        yield f"llama-{head.lower()}", f"Llama{head}", DECODER, "ids"
    yield "llama-padded", "LlamaForCausalLM", DECODER, "plain"
    yield "llama-classes", "LlamaForSequenceClassification", {**DECODER, **LABELS}, "plain"
    yield "llama-tied-biased", "LlamaForCausalLM", {**DECODER, "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}, "ids"
    yield "llama-wide-heads", "LlamaForCausalLM", {**DECODER, "head_dim": 16}, "ids"
    yield "llama-all-heads", "LlamaForCausalLM", {**DECODER, "num_key_value_heads": 4}, "ids"
    yield "llama-one-key", "LlamaForCausalLM", {**DECODER, "num_key_value_heads": 1}, "ids"
    for kind, rope in {
        "theta": {"rope_type": "default", "rope_theta": 500000.0},
        "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0},
        "dynamic": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
        "yarn": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16},
        "llama3": {
            "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    }.items():
        yield f"llama-rope-{kind}", "LlamaForCausalLM", {**DECODER, "rope_parameters": rope}, "ids"
    for family in ("Mistral", "Qwen2"):
        name = family.lower()
        yield f"{name}-model", f"{family}Model", DECODER, "ids"
        yield f"{name}-full", f"{family}ForCausalLM", {**DECODER, "sliding_window": None}, "ids"
        yield f"{name}-classes", f"{family}ForSequenceClassification", {**DECODER, **LABELS}, "plain"
        yield f"{name}-tied", f"{family}ForCausalLM", {**DECODER, "tie_word_embeddings": True}, "ids"
    yield "mistral-window-3", "MistralForCausalLM", {**DECODER, "sliding_window": 3}, "ids"
    yield "mistral-window-padded", "MistralForCausalLM", {**DECODER, "sliding_window": 3}, "plain"
    yield "qwen2-window", "Qwen2ForCausalLM", {**DECODER, "use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}, "ids"

    for family in ("ViT", "DeiT"):
        name = family.lower()
        yield f"{name}-model", f"{family}Model", IMAGE, "image"
        yield f"{name}-classes", f"{family}ForImageClassification", {**IMAGE, **LABELS}, "image"
        yield f"{name}-no-qkv-bias", f"{family}ForImageClassification", {**IMAGE, "qkv_bias": False, "hidden_act": "gelu_new"}, "image"
        yield f"{name}-grey", f"{family}ForImageClassification", {**IMAGE, "num_channels": 1}, "image"
    yield "deit-teacher", "DeiTForImageClassificationWithTeacher", {**IMAGE, **LABELS}, "image"
    resnet = dict(embedding_size=8, hidden_sizes=[8, 16, 24], depths=[1, 2, 1], num_channels=3)
    yield "resnet-model", "ResNetModel", resnet, "large-image"
    yield "resnet-bottleneck", "ResNetForImageClassification", {**resnet, **LABELS, "layer_type": "bottleneck", "hidden_sizes": [16, 32, 48]}, "large-image"
    yield "resnet-basic", "ResNetForImageClassification", {**resnet, **LABELS, "layer_type": "basic"}, "large-image"
    yield "resnet-first-stage", "ResNetForImageClassification", {**resnet, "layer_type": "basic", "downsample_in_first_stage": True}, "large-image"
    yield "clip-both", "CLIPModel", {"text_config": CLIP_TEXT, "vision_config": CLIP_IMAGE, "projection_dim": 12}, "clip"
    yield "clip-gelu", "CLIPModel", {
        "text_config": {**CLIP_TEXT, "hidden_act": "gelu"}, "vision_config": {**CLIP_IMAGE, "hidden_act": "gelu"}, "projection_dim": 12,
    }, "clip"
    yield "clip-text", "CLIPTextModel", CLIP_TEXT, "clip-text"
    yield "clip-text-projected", "CLIPTextModelWithProjection", {**CLIP_TEXT, "projection_dim": 12}, "clip-text"
    yield "clip-image", "CLIPVisionModel", CLIP_IMAGE, "image"
    yield "clip-image-projected", "CLIPVisionModelWithProjection", {**CLIP_IMAGE, "projection_dim": 12}, "image"


def inputs(kind, config, generator):
    """Random inputs; the texts of a padded batch differ in length."""
    longest = max(LENGTHS)
    if "image" in kind or kind == "clip":
        size = 32 if kind == "large-image" else getattr(getattr(config, "vision_config", config), "image_size", 24)
        pixels = torch.randn(2, getattr(config, "num_channels", 3), size, size, generator=generator)
        if kind != "clip":
            return {"pixel_values": pixels}
    if kind in ("clip", "clip-text"):
        ids = torch.randint(3, VOCABULARY - 1, (2, 9), generator=generator)
        # The end of a text: where the classic rule looks (the highest number), and the newer one (eos_token_id).
        ids[0, 8] = ids[1, 5] = VOCABULARY - 1
        text = getattr(config, "text_config", config)
        ids[0, 8] = ids[1, 5] = text.eos_token_id if text.eos_token_id not in (None, 2) else VOCABULARY - 1
        return {"input_ids": ids, **({"pixel_values": pixels} if kind == "clip" else {})}
    shape = (len(LENGTHS), longest)
    if "choice" in kind:
        shape = (len(LENGTHS), 3, longest)
    ids = torch.randint(3, VOCABULARY, shape, generator=generator)
    result = {"input_ids": ids}
    if kind == "ids":
        return result
    mask = torch.ones(shape, dtype=torch.int64)
    for row, length in enumerate(LENGTHS):
        mask[row, ..., length:] = 0
    padding = config.pad_token_id if config.pad_token_id is not None else 0
    result["input_ids"] = ids.masked_fill(mask == 0, padding)
    result["attention_mask"] = mask
    if kind in ("text", "choice") and config.type_vocab_size > 1:
        result["token_type_ids"] = torch.randint(0, config.type_vocab_size, shape, generator=generator)
    return result


def randomise(model, generator):
    """Every tensor gets values of its own, biases and norms too, so that nothing that is left out goes unseen."""
    with torch.no_grad():
        for name, tensor in list(model.named_parameters()) + list(model.named_buffers()):
            if not tensor.is_floating_point() or "inv_freq" in name:
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if "logit_scale" in name:
                tensor.copy_(1.3 + 0.1 * noise)
            elif "running_var" in name:
                tensor.copy_(1 + 0.3 * noise.abs())
            elif "norm" in name.lower() and name.endswith("weight") or ".ln_" in name and name.endswith("weight"):
                tensor.copy_(1 + 0.2 * noise)
            else:
                tensor.copy_(0.2 * noise)


def outputs(result):
    tensors = {}
    for name, value in result.items():
        if isinstance(value, torch.Tensor):
            if name == "last_hidden_state" and value.dim() == 3:
                tensors["last_hidden_state"] = value
            elif name not in ("last_hidden_state", "loss"):
                tensors[name] = value
        elif name in ("hidden_states", "attentions") and value is not None:
            short = "hidden" if name == "hidden_states" else "attention"
            tensors.update({f"{short}.{k}": item for k, item in enumerate(value) if item is not None})
    return tensors


def make(folder, class_name, options, kind):
    generator = torch.Generator().manual_seed(hash_of(folder.name))
    cls = getattr(transformers, class_name)
    config = cls.config_class(**options)
    config._attn_implementation = "eager"
    model = cls(config).float().eval()
    randomise(model, generator)
    model.tie_weights()
    batch = inputs(kind, config, generator)
    wanted = {"output_hidden_states": True, "output_attentions": True, "return_dict": True}
    accepted = inspect.signature(model.forward).parameters
    wanted = {k: v for k, v in wanted.items() if k in accepted or any(p.kind == p.VAR_KEYWORD for p in accepted.values())}
    if "use_cache" in accepted:
        wanted["use_cache"] = False
    with torch.no_grad():
        result = model(**batch, **wanted)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tensors = {f"in/{k}": v.contiguous() for k, v in batch.items()}
    tensors.update({f"out/{k}": v.detach().float().contiguous().clone() for k, v in outputs(result).items()})
    save_file(tensors, folder / "expected.safetensors")
    return sorted(k for k in tensors if k.startswith("out/") and "hidden." not in k and "attention." not in k)


def hash_of(text):
    value = 1
    for character in text:
        value = (value * 131 + ord(character)) % 2**31
    return value


def main():
    out = Path(sys.argv[1])
    failed = 0
    for name, class_name, options, kind in cases():
        try:
            print(f"{name}: {', '.join(make(out / name, class_name, dict(options), kind))}")
        except Exception as error:  # one option that this version lacks must not cost the others
            failed += 1
            print(f"{name}: NOT MADE: {type(error).__name__}: {error}")
    print(f"transformers {transformers.__version__}, torch {torch.__version__}; {failed} not made")


if __name__ == "__main__":
    main()
