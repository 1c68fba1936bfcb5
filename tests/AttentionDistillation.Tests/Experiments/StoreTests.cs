using AttentionDistillation.Experiments;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tests.Support;

namespace AttentionDistillation.Tests.Experiments;

public class StoreTests
{
    private static RunMetadata Metadata(Scale scale, string device = "cpu") =>
        new(scale, device, "cpu, 2 threads", "abc", new(2026, 1, 31, 12, 0, 0, TimeSpan.Zero), "1.0.0");

    [Fact]
    public void ARunReplacesItsOwnScaleAndDevice()
    {
        using var folder = new TemporaryFolder();
        var units = new Dictionary<string, string> { ["score"] = "points" };
        ResultStore.Write(
            folder.Path,
            AblationTests.ResultOf(("a, \"x\"", [0.1 + 0.2, double.NaN])),
            Metadata(Scale.Small),
            units
        );
        ResultStore.Write(folder.Path, AblationTests.ResultOf(("a", [5])), Metadata(Scale.Small, "cuda"));
        ResultStore.Write(folder.Path, AblationTests.ResultOf(("a", [6])), Metadata(Scale.Smoke));
        string path = ResultStore.Write(folder.Path, AblationTests.ResultOf(("a", [7])), Metadata(Scale.Smoke));
        var rows = ResultStore.Read(path);
        Assert.Equal([7, 0.1 + 0.2, double.NaN, 5], rows.Select(row => row.Value));
        Assert.Equal(
            new ResultRow(
                "test",
                Scale.Small,
                "cpu",
                "a, \"x\"",
                "score",
                0,
                0.1 + 0.2,
                "points",
                2,
                "cpu, 2 threads",
                "abc",
                "2026-01-31T12:00:00Z",
                "1.0.0"
            ),
            rows[1]
        );
        Assert.Equal([path], Directory.EnumerateFiles(folder.Path));
    }

    [Fact]
    public void AMalformedResultFileIsRefusedAndLeftAlone()
    {
        using var folder = new TemporaryFolder();
        string path = ResultStore.Write(folder.Path, AblationTests.ResultOf(("a", [1])), Metadata(Scale.Small));
        string broken = File.ReadAllText(path).Replace(",score,0,1,", ",score,0,one,", StringComparison.Ordinal);
        File.WriteAllText(path, broken);
        var error = Assert.Throws<CsvFormatException>(() =>
            ResultStore.Write(folder.Path, AblationTests.ResultOf(("a", [1])), Metadata(Scale.Small))
        );
        Assert.Contains("line 2, column 'value'", error.Message);
        Assert.Equal(broken, File.ReadAllText(path));
    }

    [Fact]
    public void ClaimsAreKeptOncePerScale()
    {
        using var folder = new TemporaryFolder();
        var claim = new Claim("a beats b, by far", "a", "b", "score");
        var parts = new ClaimConjunction("all", [claim]);
        var good = parts.Judge(AblationTests.ResultOf(("a", [2, 3]), ("b", [1, 2])));
        var bad = claim.Judge(AblationTests.ResultOf(("a", [1]), ("b", [2])));
        ClaimStore.Write(folder.Path, "01-x", ClaimRecord.Of("01-x", good, Metadata(Scale.Small)));
        ClaimStore.Write(folder.Path, "01-x", ClaimRecord.Of("01-x", good, Metadata(Scale.Large, "cuda")));
        ClaimStore.Write(folder.Path, "01-x", [ClaimRecord.Of("01-x", bad, Metadata(Scale.Small))]);
        Assert.StartsWith(
            "claim,scale,device,verdict,difference,standard_error,n,seeds,date,commit\n",
            File.ReadAllText(ClaimStore.PathOf(folder.Path, "01-x"))
        );
        var records = ClaimStore.ReadFolder(folder.Path);
        Assert.Equal(4, records.Count);
        var small = records.Single(record => record.Claim == claim.Name && record.Scale == Scale.Small);
        Assert.Equal(
            (ClaimVerdict.Inconclusive, -1.0, null, 1L, "0"),
            (small.Verdict, small.Difference, small.StandardError, small.N, small.Seeds)
        );
        var large = records.Single(record => record.Claim == claim.Name && record.Scale == Scale.Large);
        Assert.Equal(
            (ClaimVerdict.Holds, 1.0, 0.0, "0 1", "cuda"),
            (large.Verdict, large.Difference, large.StandardError, large.Seeds, large.Device)
        );
        Assert.Null(records.Single(record => record.Claim == "all" && record.Scale == Scale.Large).Difference);
        Assert.Empty(ClaimStore.ReadFolder(folder.At("nowhere")));
        Assert.Throws<ArgumentException>(() => ClaimStore.Write(folder.Path, "02-y", [small]));
        Assert.Throws<ArgumentException>(() => ClaimStore.Write(folder.Path, "01-x", [small, small]));
    }

    [Fact]
    public void AnUnknownVerdictIsRefused()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(
            folder.At("01-x.claims.csv"),
            "claim,scale,device,verdict,difference,standard_error,n,seeds,date,commit\nc,small,cpu,Perhaps,,,0,,2026,\n"
        );
        Assert.Contains("column 'verdict'", Assert.Throws<CsvFormatException>(() => ClaimStore.ReadFolder(folder.Path)).Message);
    }

    [Fact]
    public void TheCommitIsReadFromAllShapesOfGitFolder()
    {
        using var folder = new TemporaryFolder();
        string hash = new('a', 40),
            packed = new('b', 40);
        Directory.CreateDirectory(folder.At("repo", ".git", "refs", "heads"));
        Directory.CreateDirectory(folder.At("repo", ".git", "worktrees", "w"));
        Directory.CreateDirectory(folder.At("repo", "sub"));
        Directory.CreateDirectory(folder.At("tree"));
        File.WriteAllText(folder.At("repo", ".git", "HEAD"), "ref: refs/heads/main\n");
        File.WriteAllText(folder.At("repo", ".git", "refs", "heads", "main"), hash + "\n");
        File.WriteAllText(folder.At("repo", ".git", "packed-refs"), $"# pack-refs\n{packed} refs/heads/side\n");
        File.WriteAllText(folder.At("repo", ".git", "worktrees", "w", "HEAD"), "ref: refs/heads/side\n");
        File.WriteAllText(folder.At("repo", ".git", "worktrees", "w", "commondir"), "../..\n");
        File.WriteAllText(folder.At("tree", ".git"), $"gitdir: {folder.At("repo", ".git", "worktrees", "w")}\n");
        Assert.Equal(hash, RunMetadata.GitCommit(folder.At("repo", "sub")));
        Assert.Equal(packed, RunMetadata.GitCommit(folder.At("tree")));
        File.WriteAllText(folder.At("repo", ".git", "HEAD"), packed);
        Assert.Equal(packed, RunMetadata.GitCommit(folder.At("repo")));
    }
}
