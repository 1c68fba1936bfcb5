using System.Globalization;
using System.Text.RegularExpressions;

namespace AttentionDistillation.Benchmarks;

/// <summary>One measured time, as our commands and their peers print it: <c>torch eager B=8 L=2048 19.0 ms peak 7.7 GiB</c>.</summary>
internal sealed partial record Measurement(string Program, string Form, RelationShape Shape, double Milliseconds, double PeakGiB)
{
    /// <summary>The measurement a line holds; null for other lines.</summary>
    internal static Measurement? Parse(string line)
    {
        var match = Pattern().Match(line);
        if (!match.Success)
            return null;
        double Number(string name) => double.Parse(match.Groups[name].ValueSpan, CultureInfo.InvariantCulture);
        return new(
            match.Groups["program"].Value == "torch" ? "PyTorch" : "this library",
            match.Groups["form"].Value,
            new((long)Number("batch"), (long)Number("length")),
            Number("time"),
            Number("peak")
        );
    }

    [GeneratedRegex(
        @"^(?<program>torch|ours) (?<form>\S+) B=(?<batch>\d+) L=(?<length>\d+) (step )?(?<time>[\d.]+) ms\b.*\bpeak (?<peak>[\d.]+) GiB"
    )]
    private static partial Regex Pattern();
}
