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
    public async Task A_damaged_file_is_named_and_hides_no_other_study()
    {
        const string Header = "claim,scale,device,verdict,difference,standard_error,n,seeds,date,commit\n";
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.File("Research.sln"), "");
        foreach (string sub in (string[])["data/papers", "data/results"])
            Directory.CreateDirectory(folder.File(sub));
        foreach (string slug in (string[])["01-torn", "02-whole"])
            File.WriteAllText(folder.File($"data/papers/{slug}.csv"), "");
        File.WriteAllText(
            folder.File("data/results/01-torn.claims.csv"),
            Header + "Better,small,cpu,Perhaps,1,0.1,3,0 1 2,2026-01-01,abc\n"
        );
        File.WriteAllText(
            folder.File("data/results/02-whole.claims.csv"),
            Header + "\"Quoted \"\"so\"\"\",large,cuda,Inconclusive,,,3,0 1 2,2026-01-01,\n"
        );
        var result = await ResearchProcess.RunAsync(folder.Path, "list");
        Assert.Equal(2, result.ExitCode);
        Assert.Matches(@"01-torn\s+\(no notebook yet\)\s+unreadable", result.Out);
        Assert.Matches(@"02-whole\s+\(no notebook yet\)\s+Quoted ""so""\s+not run\s+not run\s+Inconclusive", result.Out);
        string line = Assert.Single(result.Error.Trim().Split('\n'));
        Assert.Contains("01-torn.claims.csv, line 2", line, StringComparison.Ordinal);
    }
}
