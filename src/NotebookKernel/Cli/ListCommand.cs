using NotebookKernel.Documents;
using NotebookKernel.Running;
using NotebookKernel.Terminal;
using Spectre.Console;

namespace NotebookKernel.Cli;

/// <summary>The command <c>list</c>: every study, with its claims and what came of them at each scale.</summary>
internal static class ListCommand
{
    private const string NotRun = "not run";
    private static readonly string[] Scales = ["smoke", "small", "large"];

    internal static int Run(string from)
    {
        string root =
            Repository.Find(from)
            ?? throw new BadInputException("There is no Research.sln here or above. Run 'research list' inside the repository.");
        string notebooks = Path.Combine(root, "notebooks"),
            papers = Path.Combine(root, "data", "papers"),
            results = Path.Combine(root, "data", "results");
        var slugs = Names(notebooks, ".ipynb").Concat(Names(papers, ".csv")).Distinct().Order(StringComparer.Ordinal).ToList();
        if (slugs.Count == 0)
        {
            Console.Out.WriteLine("No studies yet: notebooks/ and data/papers/ are empty.");
            return ExitCodes.Success;
        }
        var table = new Table { Border = TableBorder.Simple };
        table.AddColumn(new TableColumn("Study") { NoWrap = true });
        table.AddColumn("Title");
        table.AddColumn("Claim");
        foreach (string scale in Scales)
            table.AddColumn(new TableColumn(scale) { NoWrap = true });
        foreach (string slug in slugs)
            AddStudy(table, slug, notebooks, results);
        Tables.Write(table);
        return ExitCodes.Success;
    }

    private static void AddStudy(Table table, string slug, string notebooks, string results)
    {
        var verdicts = ClaimVerdicts.Read(Path.Combine(results, slug + ClaimVerdicts.FileSuffix));
        string title = Title(Path.Combine(notebooks, slug + ".ipynb"));
        string?[] claims = [.. verdicts.Select(verdict => verdict.Claim).Distinct()];
        foreach (var (index, claim) in (claims.Length > 0 ? claims : [null]).Index())
            table.AddRow([
                new Text(index == 0 ? slug : ""),
                new Text(index == 0 ? title : ""),
                new Text(claim ?? "—"),
                .. Scales.Select(scale =>
                    Coloured(verdicts.FirstOrDefault(each => each.Claim == claim && each.Scale == scale)?.Verdict)
                ),
            ]);
    }

    private static Markup Coloured(string? verdict) =>
        verdict switch
        {
            null => new Markup($"[dim]{NotRun}[/]"),
            "Holds" => new Markup("[green]Holds[/]"),
            "Fails" => new Markup("[red]Fails[/]"),
            _ => new Markup($"[yellow]{verdict.EscapeMarkup()}[/]"),
        };

    private static string Title(string notebook)
    {
        if (!File.Exists(notebook))
            return "(no notebook yet)";
        try
        {
            return NotebookDocument.Read(notebook).Title;
        }
        catch (NotebookFormatException error)
        {
            return error.Message;
        }
    }

    // Studies are numbered; other files of the folders (a README, helpers) are not studies.
    private static IEnumerable<string> Names(string folder, string extension) =>
        Directory.Exists(folder)
            ? Directory
                .EnumerateFiles(folder, "*" + extension)
                .Select(file => Path.GetFileName(file)[..^extension.Length])
                .Where(name => name.Length > 2 && char.IsAsciiDigit(name[0]) && char.IsAsciiDigit(name[1]) && name[2] == '-')
            : [];
}
