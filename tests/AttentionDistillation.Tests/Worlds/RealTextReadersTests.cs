using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using AttentionDistillation.Worlds;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Worlds;

/// <summary>Readers of text shards, GLUE tasks and plain text, on small files made here.</summary>
public class RealTextReadersTests
{
    private static readonly string[] Entries = ["[UNK]", "the", "[CLS]", "[PAD]", "cat", "sat", "[MASK]", "[SEP]", "mat"];

    private static SpecialTokens Tokens =>
        SpecialTokens.OfBert(Entries, text => [.. text.Split(' ').Select(word => Math.Max(0, Array.IndexOf(Entries, word)))]);

    [Fact]
    public void ShardsBecomeMaskedRows()
    {
        using var folder = new TemporaryFolder();
        for (int shard = 0; shard < 3; shard++)
            File.WriteAllLines(Path.Combine(folder.Path, $"{shard}.txt"), Enumerable.Repeat("the cat sat the mat", 40));
        var text = TextShards.Open(folder.Path, Tokens, 10);
        Assert.Equal(3 * 40 * 6 / 8, text.Count);
        using var batch = text.Masked(1, 16).BatchAt(3);
        using var again = text.Masked(1, 16).BatchAt(3);
        Assert.Equal(batch.InputIds, again.InputIds);
        Assert.True(batch.InputIds[.., 0].eq(2).all().item<bool>() && batch.InputIds[.., -1].eq(7).all().item<bool>());
        long asked = batch.Labels.ne(Batch.IgnoredLabel).sum().item<long>();
        Assert.InRange(asked, 4, 40);
        Assert.Equal(5, TextShards.Open(folder.Path, Tokens, 10, 5).Count);
        Assert.Throws<DirectoryNotFoundException>(() => TextShards.Open(Path.Combine(folder.Path, "none"), Tokens, 10));
        Assert.Contains(
            "[MASK]",
            Assert.Throws<ArgumentException>(() => SpecialTokens.OfBert(["[PAD]", "[CLS]", "[SEP]"], _ => [])).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void GlueTasksAreReadByTheirHeaders()
    {
        using var folder = new TemporaryFolder();
        void Write(string task, string file, params string[] lines)
        {
            Directory.CreateDirectory(Path.Combine(folder.Path, task));
            File.WriteAllLines(Path.Combine(folder.Path, task, file), lines);
        }
        string[] pairs =
        [
            "index\tsentence1\tsentence2\tgold_label",
            "0\tthe cat\tthe mat\tneutral",
            "1\tthe mat sat\tcat\tentailment",
        ];
        Write("MNLI", "train.tsv", pairs);
        Write("MNLI", "dev_matched.tsv", pairs);
        var task = GlueTask.Read(folder.Path, "MNLI", Tokens);
        Assert.Equal((2, 2, 3), (task.TrainCount, task.DevCount, task.ClassNames.Count));
        using var batch = task.Dev(2, 8).BatchAt(0);
        Assert.Equal([1L, 0L], batch.Labels.data<long>().ToArray());
        Assert.Equal([2L, 1, 4, 7, 1, 8, 7, 3], batch.InputIds[0].data<long>().ToArray());
        Assert.Equal([0L, 0, 0, 0, 1, 1, 1, 0], batch.TokenTypeIds![0].data<long>().ToArray());
        using var cut = task.Train(1, 2, 5).BatchAt(0);
        Assert.Equal(5, cut.InputIds.size(1));

        Write("CoLA", "train.tsv", "gj04\t1\t\tthe cat sat", "gj04\t0\t*\tcat the");
        Write("CoLA", "dev.tsv", "gj04\t1\t\tthe mat");
        Assert.Equal(2, GlueTask.Read(folder.Path, "CoLA", Tokens).TrainCount);

        Write("RTE", "train.tsv", "index\tsentence1\tsentence2\tlabel", "0\tthe\tcat\tmaybe");
        Assert.Contains(
            "maybe",
            Assert.Throws<InvalidDataException>(() => GlueTask.Read(folder.Path, "RTE", Tokens)).Message,
            StringComparison.Ordinal
        );
        Write("SST-2", "train.tsv", "text\tlabel", "the\t1");
        Assert.Contains(
            "'sentence'",
            Assert.Throws<InvalidDataException>(() => GlueTask.Read(folder.Path, "SST-2", Tokens)).Message,
            StringComparison.Ordinal
        );
        Assert.Throws<FileNotFoundException>(() => GlueTask.Read(folder.Path, "QNLI", Tokens));
        Assert.Throws<ArgumentException>(() => GlueTask.Read(folder.Path, "WNLI", Tokens));
    }

    [Fact]
    public void WindowsKeepTheHeldOutPartApart()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(Path.Combine(folder.Path, "a.txt"), new string('a', 900));
        File.WriteAllText(Path.Combine(folder.Path, "b.tokens"), new string('b', 100));
        File.WriteAllText(Path.Combine(folder.Path, "c.json"), "not read");
        var text = TextWindows.Open(folder.Path);
        Assert.Equal(1000, text.Count);
        for (long step = 0; step < 20; step++)
        {
            using var batch = text.Train(1, 4, 10).BatchAt(step);
            Assert.True(batch.InputIds.eq('a').all().item<bool>() && batch.Labels.eq('a').all().item<bool>());
        }
        var held = text.HeldOut(10, 4, 10);
        Assert.Equal(9, held.Examples);
        using var last = held.BatchAt(held.Count - 1);
        Assert.True(last.InputIds.eq('b').all().item<bool>());
        Assert.Throws<ArgumentException>(() => text.HeldOut(1, 1, 200));
    }
}
