using AttentionDistillation.Experiments;
using AttentionDistillation.Runtime;
using NotebookKernel.Documents;
using NotebookKernel.Running;
using NotebookKernel.Terminal;
using Spectre.Console;

namespace NotebookKernel.Cli;

/// <summary>The command <c>list</c>: every study, with its claims and what came of them at each scale.</summary>
internal static class ListCommand
{
    private const string NotRun = "not run";
    private static readonly Scale[] Scales = Enum.GetValues<Scale>();

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
        foreach (var scale in Scales)
            table.AddColumn(new TableColumn(scale.ToString().ToLowerInvariant()) { NoWrap = true });
        var unreadable = new List<string>();
        foreach (string slug in slugs)
            AddStudy(table, slug, Title(Path.Combine(notebooks, slug + ".ipynb")), Claims(results, slug, unreadable));
        Tables.Write(table);
        // One damaged file hides no other study; it is named below the table.
        return unreadable.Count == 0 ? ExitCodes.Success : throw new BadInputException(string.Join('\n', unreadable));
    }

    // Null where there is a file but it cannot be read.
    private static IReadOnlyList<ClaimRecord>? Claims(string results, string slug, List<string> unreadable)
    {
        string path = ClaimStore.PathOf(results, slug);
        try
        {
            return File.Exists(path) ? ClaimStore.Read(path) : [];
        }
        catch (Exception error) when (error is CsvFormatException or IOException or UnauthorizedAccessException)
        {
            unreadable.Add($"The verdicts of {slug} cannot be read: {error.Message}");
            return null;
        }
    }

    private static void AddStudy(Table table, string slug, string title, IReadOnlyList<ClaimRecord>? records)
    {
        if (records is null)
        {
            table.AddRow([
                new Text(slug),
                new Text(title),
                new Markup("[red]unreadable[/]"),
                .. Scales.Select(_ => new Text("")),
            ]);
            return;
        }
        string?[] claims = [.. records.Select(record => record.Claim).Distinct()];
        foreach (var (index, claim) in (claims.Length > 0 ? claims : [null]).Index())
            table.AddRow([
                new Text(index == 0 ? slug : ""),
                new Text(index == 0 ? title : ""),
                new Text(claim ?? "—"),
                .. Scales.Select(scale =>
                    Coloured(records.LastOrDefault(each => each.Claim == claim && each.Scale == scale)?.Verdict)
                ),
            ]);
    }

    private static Markup Coloured(ClaimVerdict? verdict) =>
        verdict switch
        {
            null => new Markup($"[dim]{NotRun}[/]"),
            ClaimVerdict.Holds => new Markup("[green]Holds[/]"),
            ClaimVerdict.Fails => new Markup("[red]Fails[/]"),
            _ => new Markup($"[yellow]{verdict}[/]"),
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
