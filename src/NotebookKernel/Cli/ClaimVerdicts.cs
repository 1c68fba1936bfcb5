namespace NotebookKernel.Cli;

/// <summary>A claim's verdict at a scale, as recorded in <c>data/results</c>.</summary>
internal sealed record ClaimVerdict(string Claim, string Scale, string Verdict);

/// <summary>Reads recorded verdicts: <c>data/results/NN-slug.claims.csv</c>, columns found by their header.</summary>
internal static class ClaimVerdicts
{
    internal const string FileSuffix = ".claims.csv";

    /// <summary>The verdicts in a file, the last for each claim and scale; none where there is no file.</summary>
    internal static IReadOnlyList<ClaimVerdict> Read(string file)
    {
        if (!File.Exists(file))
            return [];
        var rows = ParseCsv(File.ReadAllText(file));
        if (rows.Count == 0)
            return [];
        int claim = rows[0].IndexOf("claim"),
            scale = rows[0].IndexOf("scale"),
            verdict = rows[0].IndexOf("verdict");
        if (claim < 0 || scale < 0 || verdict < 0)
            throw new BadInputException($"'{Path.GetFileName(file)}' has no columns claim, scale and verdict.");
        int needed = Math.Max(claim, Math.Max(scale, verdict));
        return
        [
            .. rows.Skip(1)
                .Where(row => row.Count > needed)
                .Select(row => new ClaimVerdict(row[claim], row[scale].ToLowerInvariant(), row[verdict]))
                .GroupBy(row => (row.Claim, row.Scale))
                .Select(group => group.Last()),
        ];
    }

    // RFC 4180: quoted fields may hold commas, line ends and doubled quotes.
    private static List<List<string>> ParseCsv(string text)
    {
        var rows = new List<List<string>>();
        var row = new List<string>();
        var field = new System.Text.StringBuilder();
        bool quoted = false;
        for (int i = 0; i < text.Length; i++)
        {
            char c = text[i];
            if (quoted)
            {
                if (c != '"')
                    field.Append(c);
                else if (i + 1 < text.Length && text[i + 1] == '"')
                    field.Append(text[++i]);
                else
                    quoted = false;
            }
            else if (c == '"')
                quoted = true;
            else if (c is ',' or '\n')
            {
                EndField();
                if (c == '\n')
                    EndRow();
            }
            else if (c != '\r')
                field.Append(c);
        }
        EndField();
        EndRow();
        return rows;

        void EndField()
        {
            row.Add(field.ToString());
            field.Clear();
        }

        void EndRow()
        {
            if (row.Count > 1 || row[0].Length > 0)
                rows.Add(row);
            row = [];
        }
    }
}
