"""transformers' side of the table of whole models: bfloat16, scaled-dot-product attention, random weights, least of several runs.

Prints one line a measurement: transformers TASK SHAPE TIME ms RATE tokens/s.
"""
import time

import torch
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

WARM_UPS, REPETITIONS = 3, 7


def least(run, repetitions=REPETITIONS):
    times = []
    for repetition in range(WARM_UPS + repetitions):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        if repetition >= WARM_UPS:
            times.append(time.perf_counter() - start)
    return min(times) * 1e3


def say(task, shape, milliseconds, tokens):
    print(f"transformers {task} {shape} {milliseconds:.2f} ms {tokens / milliseconds * 1e3:.0f} tokens/s", flush=True)


def decoder():
    config = LlamaConfig(vocab_size=32000, hidden_size=768, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=12,
                         max_position_embeddings=2048, tie_word_embeddings=True, attn_implementation="sdpa")
    return LlamaForCausalLM(config).cuda().to(torch.bfloat16)


def main():
    torch.manual_seed(0)
    bert = BertModel(BertConfig(attn_implementation="sdpa"), add_pooling_layer=False).cuda().to(torch.bfloat16).eval()
    tokens = torch.randint(0, 30522, (64, 512), device="cuda")
    with torch.no_grad():
        say("bert-forward", "64x512", least(lambda: bert(tokens)), 64 * 512)

    llama = decoder()
    tokens = torch.randint(0, 32000, (8, 1024), device="cuda")

    def step():
        llama(tokens, labels=tokens, use_cache=False).loss.backward()
        llama.zero_grad()

    say("llama125m-forward-backward", "8x1024", least(step), 8 * 1024)
    llama.eval()
    for batch in (1, 8):
        prompt = torch.randint(0, 32000, (batch, 128), device="cuda")
        options = dict(max_new_tokens=256, min_new_tokens=256, do_sample=False, use_cache=True, pad_token_id=0)
        say("llama125m-generate", f"{batch}x128+256", least(lambda: llama.generate(prompt, **options), 3), batch * 256)


if __name__ == "__main__":
    main()
