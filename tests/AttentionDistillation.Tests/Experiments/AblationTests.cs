using AttentionDistillation.Experiments;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tests.Support;
using TorchSharp;

namespace AttentionDistillation.Tests.Experiments;

public class AblationTests
{
    private static RunSettings Settings(Scale scale = Scale.Smoke)
    {
        TorchRuntime.EnsureLoaded();
        return new(scale, torch.CPU);
    }

    private static Dictionary<string, double> Score(double value) => new() { ["score"] = value };

    internal static AblationResult ResultOf(params (string Variant, double[] Scores)[] variants)
    {
        using var folder = new TemporaryFolder();
        var scores = variants.ToDictionary(pair => pair.Variant, pair => pair.Scores);
        return new Ablation("test", Settings(), new() { CacheFolder = folder.Path }).Run(
            scores.Keys,
            Enumerable.Range(0, variants[0].Scores.Length).Select(seed => (long)seed),
            (variant, seed) => Score(scores[variant][seed])
        );
    }

    [Fact]
    public void ARerunComputesOnlyWhatIsMissing()
    {
        using var folder = new TemporaryFolder();
        var options = new AblationOptions { CacheFolder = folder.Path };
        var ran = new List<(string, long)>();
        AblationResult Run(AblationOptions how, Scale scale, params long[] seeds)
        {
            ran.Clear();
            return new Ablation("01-x", Settings(scale), how).Run(
                ["a", "b"],
                seeds,
                (variant, seed) =>
                {
                    ran.Add((variant, seed));
                    return new Dictionary<string, double> { ["score"] = seed + 0.1 + 0.2, ["odd"] = double.NaN };
                }
            );
        }

        var first = Run(options, Scale.Smoke, 0, 1);
        Assert.Equal([("a", 0L), ("a", 1L), ("b", 0L), ("b", 1L)], ran);
        Assert.All(first.Cells, cell => Assert.True(!cell.FromCache && cell.PeakHostBytes > 0 && cell.Seconds >= 0));
        var second = Run(options, Scale.Smoke, 0, 1, 2);
        Assert.Equal([("a", 2L), ("b", 2L)], ran);
        Assert.Equal(4, second.Cells.Count(cell => cell.FromCache));
        Assert.Equal(first.Values("a", "score")[1], second.Values("a", "score")[1]); // to the bit
        Assert.Equal(double.NaN, second.Values("a", "odd")[0]);
        foreach (
            var other in (AblationOptions[])
                [options with { Fingerprint = "c" }, options with { CodeVersion = "2" }, options with { Fresh = true }]
        )
        {
            Run(other, Scale.Smoke, 0);
            Assert.Equal(2, ran.Count);
        }
        Run(options, Scale.Large, 0);
        Assert.Equal(2, ran.Count);
        Assert.Empty(Directory.EnumerateFiles(folder.Path, "*.tmp", SearchOption.AllDirectories));
    }

    [Theory]
    [InlineData("")]
    [InlineData("{\"Key\": {\"Study\"")]
    [InlineData("null")]
    [InlineData("{}")]
    [InlineData("[1, 2]")]
    public void ADamagedCellIsComputedAgainWithANote(string content)
    {
        using var folder = new TemporaryFolder();
        var ablation = new Ablation("01-x", Settings(), new() { CacheFolder = folder.Path });
        ablation.Run(["a"], [7], (_, _) => Score(1));
        string file = Directory.EnumerateFiles(folder.Path, "*.json", SearchOption.AllDirectories).Single();
        File.WriteAllText(file, content);
        var result = ablation.Run(["a"], [7], (_, _) => Score(2));
        Assert.Equal(2, result.Values("a", "score")[7]);
        Assert.Contains(file, Assert.Single(result.Notes));
        Assert.Empty(ablation.Run(["a"], [7], (_, _) => throw new InvalidOperationException()).Failures);
    }

    [Fact]
    public void ACellOfAnotherKeyIsNotTaken()
    {
        using var folder = new TemporaryFolder();
        var ablation = new Ablation("01-x", Settings(), new() { CacheFolder = folder.Path });
        ablation.Run(["a"], [1, 2], (_, seed) => Score(seed));
        string[] files = [.. Directory.EnumerateFiles(folder.Path, "*.json", SearchOption.AllDirectories).Order()];
        File.Copy(files[0], files[1], overwrite: true);
        var result = ablation.Run(["a"], [1, 2], (_, seed) => Score(seed));
        Assert.Single(result.Notes);
        Assert.Equal(2, result.Values("a", "score")[2]);
    }

    [Fact]
    public void AFailedCellIsReportedAndTheRestKept()
    {
        using var folder = new TemporaryFolder();
        var ablation = new Ablation("01-x", Settings(), new() { CacheFolder = folder.Path });
        var result = ablation.Run(
            ["a", "b", "c"],
            [0, 1],
            (variant, seed) =>
                (variant, seed) switch
                {
                    ("b", 1) => throw new ArithmeticException("diverged"),
                    ("c", _) => new Dictionary<string, double>(),
                    _ => Score(seed),
                }
        );
        Assert.Equal(3, result.Cells.Count);
        Assert.Equal(
            ("b", 1L, "System.ArithmeticException", "diverged"),
            (result.Failures[0].Variant, result.Failures[0].Seed, result.Failures[0].ExceptionType, result.Failures[0].Message)
        );
        Assert.Equal(3, result.Failures.Count);
        Assert.Equal([0L], result.Paired("a", "b", "score").Keys);
        Assert.Equal(0, result.Summary("c", "score").N);
        Assert.Empty(ablation.Run(["b"], [0, 1], (_, seed) => Score(seed)).Failures);
    }

    [Fact]
    public async Task AblationsOverOneCacheShareTheirCells()
    {
        using var folder = new TemporaryFolder();
        var options = new AblationOptions { CacheFolder = folder.Path };
        var ran = new System.Collections.Concurrent.ConcurrentBag<(string, long)>();
        using var both = new Barrier(2);
        AblationResult Run() =>
            new Ablation("01-x", Settings(), options).Run(
                ["a", "b"],
                [0, 1, 2],
                (variant, seed) =>
                {
                    ran.Add((variant, seed));
                    if (variant == "a" && seed < 2)
                        Assert.True(both.SignalAndWait(TimeSpan.FromMinutes(1)), "One of the two computed both."); // so each computes one
                    return Score(seed);
                }
            );
        var results = await Task.WhenAll(Task.Run(Run), Task.Run(Run));
        Assert.Equal(6, ran.Count);
        Assert.Equal(6, ran.Distinct().Count());
        foreach (var result in results)
        {
            Assert.Equal(
                [("a", 0L), ("a", 1L), ("a", 2L), ("b", 0L), ("b", 1L), ("b", 2L)],
                result.Cells.Select(cell => (cell.Variant, cell.Seed))
            );
            Assert.Contains(result.Cells, cell => cell.FromCache);
            Assert.Empty(result.Notes);
        }
        Assert.Empty(Directory.EnumerateFiles(folder.Path, "*" + CellClaim.Suffix, SearchOption.AllDirectories));
    }

    [Fact]
    public async Task ManyQuickCellsAreEachComputedOnce()
    {
        using var folder = new TemporaryFolder();
        var options = new AblationOptions { CacheFolder = folder.Path };
        var ran = new System.Collections.Concurrent.ConcurrentBag<(string, long)>();
        long[] seeds = [.. Enumerable.Range(0, 100).Select(seed => (long)seed)];
        AblationResult Run() =>
            new Ablation("01-x", Settings(), options).Run(
                ["a", "b"],
                seeds,
                (variant, seed) =>
                {
                    ran.Add((variant, seed));
                    return Score(seed);
                }
            );
        var results = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(Run)));
        Assert.Equal(200, ran.Distinct().Count());
        Assert.Equal(200, ran.Count);
        Assert.All(results, result => Assert.Equal(200, result.Cells.Count));
        Assert.All(results, result => Assert.Empty(result.Failures));
    }

    [Fact]
    public void AClaimIsFreeAgainWhenItsHolderIsGone()
    {
        using var folder = new TemporaryFolder();
        string cell = Path.Combine(folder.Path, "study", "cell.json");
        using (var first = CellClaim.Take(cell, out bool isTaken))
        {
            Assert.NotNull(first);
            Assert.False(isTaken);
            Assert.Null(CellClaim.Take(cell, out isTaken));
            Assert.True(isTaken);
        }
        File.WriteAllText(cell + CellClaim.Suffix, ""); // what a killed process leaves
        using var next = CellClaim.Take(cell, out bool still);
        Assert.NotNull(next);
        Assert.False(still);
    }

    [Fact]
    public void AStopKeepsWhatWasDone()
    {
        using var folder = new TemporaryFolder();
        var ablation = new Ablation("01-x", Settings(), new() { CacheFolder = folder.Path });
        int ran = 0;
        IReadOnlyDictionary<string, double> Cell(string variant, long seed)
        {
            if (++ran == 2)
                Interruption.Request();
            return Score(seed);
        }
        try
        {
            var stop = Assert.Throws<AblationInterruptedException>(() => ablation.Run(["a"], [0, 1, 2], Cell));
            Assert.Equal((2, 0), (stop.Partial.Cells.Count, stop.Partial.Failures.Count));
        }
        finally
        {
            Interruption.Clear();
        }
        Assert.Equal(3, ablation.Run(["a"], [0, 1, 2], Cell).Cells.Count);
        Assert.Equal(3, ran);
    }

    [Fact]
    public void SummariesAndRows()
    {
        var result = ResultOf(("a", [1, 2, 3]), ("b", [1, 1, 1]));
        Assert.Equal(new MetricSummary(2, 1, 3), result.Summary("a", "score"));
        Assert.Equal(new MetricSummary(1, 0, 3), result.Summary("b", "score"));
        Assert.Equal(6, result.Rows.Count);
        Assert.Equal([0.0, 1.0, 2.0], result.Paired("a", "b", "score").Values);
        Assert.Contains("a, b", Assert.Throws<KeyNotFoundException>(() => result.Summary("z", "score")).Message);
        Assert.Contains("score", Assert.Throws<KeyNotFoundException>(() => result.Summary("a", "z")).Message);
        Assert.Equal(0, MetricSummary.Of([0.1, 0.1, 0.1]).StandardDeviation);
    }

    [Fact]
    public void BadPlansAreRefused()
    {
        var ablation = new Ablation("01-x", Settings());
        Assert.Throws<ArgumentException>(() => ablation.Run([], [0], (_, _) => Score(0)));
        Assert.Throws<ArgumentException>(() => ablation.Run(["a", "a"], [0], (_, _) => Score(0)));
        Assert.Throws<ArgumentException>(() => ablation.Run(["a"], [0, 0], (_, _) => Score(0)));
    }
}
