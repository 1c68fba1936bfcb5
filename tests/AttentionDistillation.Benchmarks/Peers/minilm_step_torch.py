"""PyTorch's side of the step table: one MiniLM step, BERT-base -> 6 x 384, Q-K and V-V relations of the last layers, AdamW, bfloat16 autocast.

The models are written out here, with fused attention and no dropout, so that PyTorch alone is needed.
Prints one line a measurement: torch FORM B=batch L=length step TIME ms TOKENSk tokens/s peak MEMORY GiB. Shapes may be given: 256x128 64x512 ...
"""
import math
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

HEADS, VOCABULARY, POSITIONS, WARM_UPS, REPETITIONS = 12, 30522, 512, 5, 7


def heads(x):
    batch, length, width = x.shape
    return x.view(batch, length, HEADS, width // HEADS).transpose(1, 2)


class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.first, self.second = nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)

    def forward(self, x):
        query, key, value = heads(self.query(x)), heads(self.key(x)), heads(self.value(x))
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(x.shape)
        x = self.first(x + self.out(mixed))
        return self.second(x + self.down(F.gelu(self.up(x)))), (query, key, value)


class Encoder(nn.Module):
    def __init__(self, layers, width):
        super().__init__()
        self.words, self.places, self.kinds = nn.Embedding(VOCABULARY, width), nn.Embedding(POSITIONS, width), nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList(Layer(width) for _ in range(layers))

    def forward(self, tokens):
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.norm(self.words(tokens) + self.places(places) + self.kinds(torch.zeros_like(tokens)))
        for layer in self.layers:
            x, attention = layer(x)
        return attention


def relation_kl(teacher, student):
    def log_map(a, b):
        return F.log_softmax((a @ b.transpose(-1, -2)).float() / math.sqrt(a.shape[-1]), -1)

    t, s = log_map(*teacher), log_map(*student)
    return (t.exp() * (t - s)).sum(-1).mean()


def minilm(teacher, student):
    return relation_kl(teacher[:2], student[:2]) + relation_kl((teacher[2], teacher[2]), (student[2], student[2]))


def measure(form, batch, length):
    torch.manual_seed(0)
    teacher, student = Encoder(12, 768).cuda().requires_grad_(False), Encoder(6, 384).cuda()
    objective = minilm
    if form == "compile":
        teacher, student, objective = torch.compile(teacher), torch.compile(student), torch.compile(minilm)
    optimiser = torch.optim.AdamW(student.parameters(), lr=1e-4, fused=True)
    tokens = torch.randint(0, VOCABULARY, (batch, length), device="cuda")
    torch.cuda.reset_peak_memory_stats()
    best = math.inf
    for repetition in range(WARM_UPS + REPETITIONS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16):
            with torch.no_grad():
                target = teacher(tokens)
            loss = objective(target, student(tokens))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        torch.cuda.synchronize()
        if repetition >= WARM_UPS:
            best = min(best, time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() / 2**30
    rate = batch * length / best / 1e3
    print(f"torch {form} B={batch} L={length} step {best * 1e3:.2f} ms {rate:.0f}k tokens/s peak {peak:.2f} GiB", flush=True)


def main(shapes):
    torch.backends.cuda.matmul.allow_tf32 = True
    print(f"# torch {torch.__version__}, CUDA {torch.version.cuda}, {torch.cuda.get_device_name()}", flush=True)
    for form in ("eager", "compile"):
        for shape in shapes:
            batch, length = map(int, shape.split("x"))
            try:
                measure(form, batch, length)
            except Exception as error:
                print(f"# FAILED {form} {shape}: {str(error)[:120]}", flush=True)
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main(sys.argv[1:] or ["256x128", "64x512"])
