using NotebookKernel.Cli;

namespace NotebookKernel.Tests.Cli;

public sealed class ListTests
{
    [Fact]
    public async Task Studies_are_listed_with_their_verdicts()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.File("Research.sln"), "");
        foreach (string sub in (string[])["notebooks", "data/papers", "data/results", "below"])
            Directory.CreateDirectory(folder.File(sub));
        folder.Notebook("notebooks/01-first.ipynb", "1");
        File.WriteAllText(folder.File("data/papers/02-second.csv"), "");
        File.WriteAllText(
            folder.File("data/results/01-first.claims.csv"),
            "claim,scale,device,verdict,difference,standard_error,n,seeds,date,commit\n\"Better, by far\",small,cpu,Holds,1,0.1,3,0 1 2,2026-01-01,abc\n"
        );
        var result = await ResearchProcess.RunAsync(folder.File("below"), "list");
        Assert.Equal((0, ""), (result.ExitCode, result.Error));
        Assert.Matches(@"01-first\s+A test\s+Better, by far\s+not run\s+Holds\s+not run", result.Out);
        Assert.Matches(@"02-second\s+\(no notebook yet\)\s+—\s+not run", result.Out);
    }

    [Fact]
    public void The_last_verdict_of_a_claim_counts()
    {
        using var folder = new TemporaryFolder();
        string file = folder.File("x.claims.csv");
        File.WriteAllText(file, "scale,verdict,claim\nsmall,Fails,\"a \"\"b\"\"\nc\"\nsmall,Holds,\"a \"\"b\"\"\nc\"\n");
        var verdict = Assert.Single(ClaimVerdicts.Read(file));
        Assert.Equal(("a \"b\"\nc", "small", "Holds"), (verdict.Claim, verdict.Scale, verdict.Verdict));
        Assert.Empty(ClaimVerdicts.Read(folder.File("missing.csv")));
    }
}
