using AttentionDistillation.Models.Blocks;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models.Decoders;

public sealed class KeyValueCacheTests
{
    [Fact]
    public void AWindowKeepsItsKeysAndNoMore()
    {
        using var scope = NewDisposeScope();
        using var cache = new KeyValueCache(1, 4);
        var all = randn(2, 1, 200, 3);
        for (long token = 0; token < 200; token++)
        {
            var (key, value) = cache.Append(0, all.narrow(2, token, 1), all.narrow(2, token, 1) * 2, 5);
            long seen = Math.Min(token + 1, 5);
            Assert.Equal(0.0, TinyDecoders.Difference(all.narrow(2, token + 1 - seen, seen), key));
            Assert.Equal(0.0, TinyDecoders.Difference(all.narrow(2, token + 1 - seen, seen) * 2, value));
        }
        Assert.Equal(200, cache.Length);
        Assert.Contains("window of 5", Assert.Throws<InvalidOperationException>(() => cache.Crop(100)).Message);
        cache.Crop(199);
        var (again, _) = cache.Append(0, all.narrow(2, 0, 1), all.narrow(2, 0, 1), 5);
        Assert.Equal(0.0, TinyDecoders.Difference(cat([all.narrow(2, 195, 4), all.narrow(2, 0, 1)], 2), again));
    }

    [Fact]
    public void AFullLayerGrowsIsCroppedAndReordered()
    {
        using var scope = NewDisposeScope();
        using var cache = new KeyValueCache(2, 3);
        var all = randn(3, 2, 20, 4);
        foreach (int layer in new[] { 0, 1 })
        {
            cache.Append(layer, all.narrow(2, 0, 7), all.narrow(2, 0, 7), null);
            cache.Append(layer, all.narrow(2, 7, 13), all.narrow(2, 7, 13), null);
        }
        cache.Crop(9);
        cache.Reorder(tensor(new long[] { 2, 2, 0, 1 }));
        var more = randn(4, 2, 1, 4);
        foreach (int layer in new[] { 0, 1 })
        {
            var (key, _) = cache.Append(layer, more, more, null);
            var expected = cat([all.index_select(0, tensor(new long[] { 2, 2, 0, 1 })).narrow(2, 0, 9), more], 2);
            Assert.Equal(0.0, TinyDecoders.Difference(expected, key));
        }
        Assert.Contains("4 sequences", Assert.Throws<ArgumentException>(() => cache.Append(0, all, all, null)).Message);
        Assert.Throws<ArgumentOutOfRangeException>(() => cache.Crop(11));
    }

    [Fact]
    public void GradientsPassThroughACache()
    {
        using var scope = NewDisposeScope();
        using var model = TinyDecoders.Build("mistral-window");
        var tokens = TinyDecoders.Tokens(1, 6);
        var embeddings = model.Embed(tokens).detach().requires_grad_();
        model.call(DecoderInput.FromEmbeddings(embeddings, null), null).narrow(1, 5, 1).sum().backward();
        var expected = embeddings.grad!.clone();
        embeddings.grad!.zero_();
        using var cache = model.NewCache(8);
        model.call(DecoderInput.FromEmbeddings(embeddings.narrow(1, 0, 4), null) with { Cache = cache }, null);
        model
            .call(DecoderInput.FromEmbeddings(embeddings.narrow(1, 4, 2), null) with { Cache = cache }, null)
            .narrow(1, 1, 1)
            .sum()
            .backward();
        Assert.True(TinyDecoders.Difference(expected, embeddings.grad!) < 1e-9);
        Assert.True(expected.narrow(1, 0, 1).abs().sum().ToDouble() > 0);
    }
}
