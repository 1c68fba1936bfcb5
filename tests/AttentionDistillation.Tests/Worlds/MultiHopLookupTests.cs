using AttentionDistillation.Tensors;
using AttentionDistillation.Worlds;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Worlds;

public class MultiHopLookupTests
{
    [Fact]
    public void WhatIsAskedFollowsFromTheLinks()
    {
        var world = new MultiHopLookup(new MultiHopOptions { AskedLinks = 0 });
        using var batch = world.Text(1, 40).BatchAt(3);
        for (int row = 0; row < 40; row++)
        {
            string[] words = [.. world.Read(batch, row).Split(' ')];
            int end = Array.IndexOf(words, "[SEP]");
            var next = words[1..end].Select(link => link.Split('→')).ToDictionary(link => link[0], link => link[1]);
            Assert.InRange(next.Count, 5, 6);
            for (int at = end + 1; words[at] != "[SEP]"; at += 3)
            {
                string answer = next[words[at + 1]];
                Assert.Equal($"[{(words[at] == "1" ? answer : next[answer])}?]", words[at + 2]);
            }
        }
    }

    [Fact]
    public void QueriesHaveEveryClassAndTheirHops()
    {
        var world = new MultiHopLookup();
        using var batch = world.HeldOutQueries(1, 60).BatchAt(0);
        for (int row = 0; row < 60; row++)
        {
            string[] words = world.Read(batch, row).Split(' ');
            int end = Array.IndexOf(words, "[SEP]"),
                hops = int.Parse(words[^2], System.Globalization.CultureInfo.InvariantCulture);
            var next = words[1..end].Select(link => link.Split('→')).ToDictionary(link => link[0], link => link[1]);
            string name = words[end + 1];
            for (int hop = 0; hop < hops; hop++)
                name = next[name];
            Assert.Equal(words[end + 2], name);
        }
        Assert.Equal(3, batch.Labels.unique().output.numel());
    }

    [Fact]
    public void BatchesAreAFunctionOfSeedAndStep()
    {
        var world = new MultiHopLookup();
        using var first = world.Text(1, 8).BatchAt(5);
        using var again = world.Text(1, 8).BatchAt(5);
        using var other = world.Text(2, 8).BatchAt(5);
        Assert.Equal(first.InputIds, again.InputIds);
        Assert.NotEqual(first.InputIds, other.InputIds);
        Assert.Equal(world.Length, first.InputIds.size(1));
        using var padding = first.InputIds.eq(MultiHopLookup.Padding);
        Assert.Equal(padding, first.Mask!.logical_not());
        using var oneHop = world.HeldOutText(1, 30, hops: 1).BatchAt(0);
        using var asked = oneHop.Labels.ne(Batch.IgnoredLabel).sum();
        Assert.InRange(asked.item<long>(), 20, 70);
        Assert.Throws<ArgumentException>(() => world.HeldOutText(1, 1, hops: 3));
        Assert.Throws<ArgumentException>(() => new MultiHopLookup(new MultiHopOptions { FewestLinks = 3 }));
    }
}
