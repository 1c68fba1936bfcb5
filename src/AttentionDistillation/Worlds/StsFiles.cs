using System.Globalization;

namespace AttentionDistillation.Worlds;

/// <summary>Two sentences as text.</summary>
/// <param name="First">The first sentence.</param>
/// <param name="Second">The second.</param>
/// <param name="Score">The gold similarity as the file gives it; NaN without one.</param>
public sealed record TextPair(string First, string Second, double Score);

/// <summary>Readers of semantic textual similarity files.</summary>
public static class StsFiles
{
    // Column names of STS-B in GLUE, of SICK and of plain exports.
    private static readonly string[] FirstNames = ["sentence1", "sentence_a"];
    private static readonly string[] SecondNames = ["sentence2", "sentence_b"];
    private static readonly string[] ScoreNames = ["score", "relatedness_score", "similarity_score"];

    // sts-train.csv and its kin: genre, file, year, number, score, sentence, sentence, and licences in some rows.
    private const int BenchmarkColumns = 7;

    /// <summary>
    /// Reads tab-separated pairs: with a header that names the columns (GLUE's STS-B, SICK), or without one as the STS benchmark's <c>sts-*.csv</c> (7 columns: the score is
    /// the fifth, the sentences follow), as score, sentence, sentence, or as sentence, sentence.
    /// </summary>
    /// <exception cref="InvalidDataException">A line does not fit; the message names it.</exception>
    public static IReadOnlyList<TextPair> ReadTsv(string path)
    {
        string[][] lines = [.. File.ReadLines(path).Where(line => line.Length > 0).Select(line => line.Split('\t'))];
        if (lines.Length == 0)
            throw new InvalidDataException($"{path} is empty.");
        string[] header = [.. lines[0].Select(name => name.Trim().ToLowerInvariant())];
        int first = Column(FirstNames),
            second = Column(SecondNames),
            score = Column(ScoreNames);
        bool named = first >= 0 && second >= 0;
        if (!named)
            (score, first, second) = lines[0].Length switch
            {
                >= BenchmarkColumns => (4, 5, 6),
                3 => (0, 1, 2),
                2 => (-1, 0, 1),
                var count => throw new InvalidDataException(
                    $"{path}, line 1: {count} columns and no header. Expected 7 (STS benchmark), 3 (score, sentence, sentence), 2 sentences, or a header with sentence1 and sentence2."
                ),
            };
        return
        [
            .. lines
                .Index()
                .Skip(named ? 1 : 0)
                .Select(line =>
                {
                    if (line.Item.Length <= Math.Max(Math.Max(first, second), score))
                        throw new InvalidDataException(
                            $"{path}, line {line.Index + 1}: {line.Item.Length} columns, fewer than the first line promises."
                        );
                    return new TextPair(
                        line.Item[first].Trim(),
                        line.Item[second].Trim(),
                        score < 0 ? double.NaN : Number(line.Item[score], path, line.Index + 1)
                    );
                }),
        ];

        int Column(string[] names) => Array.FindIndex(header, name => names.Contains(name));
    }

    /// <summary>Reads pairs without labels, <c>sentence||sentence</c> a line.</summary>
    /// <exception cref="InvalidDataException">A line does not hold two sentences; the message names it.</exception>
    public static IReadOnlyList<TextPair> ReadPairs(string path) =>
        [
            .. File.ReadLines(path)
                .Index()
                .Where(line => line.Item.Length > 0)
                .Select(line =>
                {
                    string[] parts = line.Item.Split("||");
                    return parts.Length == 2
                        ? new TextPair(parts[0].Trim(), parts[1].Trim(), double.NaN)
                        : throw new InvalidDataException(
                            $"{path}, line {line.Index + 1}: {parts.Length} parts; expected sentence||sentence."
                        );
                }),
        ];

    private static double Number(string text, string path, int line) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number)
            ? number
            : throw new InvalidDataException($"{path}, line {line}: '{text}' is no number, where the score should be.");
}
