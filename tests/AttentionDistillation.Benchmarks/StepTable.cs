namespace AttentionDistillation.Benchmarks;

/// <summary>The table of whole steps: what minilm-step wrote, and PyTorch's times as further lines of the same columns.</summary>
internal static class StepTable
{
    private static readonly string[] Columns =
    [
        "program",
        "shape",
        "real_tokens",
        "variant",
        "measure",
        "min_ms",
        "median_ms",
        "tokens_per_second",
        "real_tokens_per_second",
        "teraflop",
        "mfu",
        "memory_gib",
    ];

    /// <summary>Writes the table; columns that one side does not measure stay empty there.</summary>
    /// <param name="file">The table.</param>
    /// <param name="ours">What minilm-step wrote; it may be missing.</param>
    /// <param name="peers">PyTorch's measurements.</param>
    /// <param name="machine">Where both were measured.</param>
    internal static void Write(string file, string ours, List<Measurement> peers, SpeedCommand.Machine machine)
    {
        string[] lines = File.Exists(ours) ? File.ReadAllLines(ours) : [];
        string[] header = lines.Length > 0 ? lines[0].Split(',') : Columns;
        if (lines.Length == 0)
            Console.WriteLine("# minilm-step measured nothing.");
        var text = new StringWriter { NewLine = "\n" };
        text.WriteLine(string.Join(',', header) + "," + SpeedCommand.Machine.Header);
        foreach (string line in lines.Skip(1))
            text.WriteLine($"{line},{machine.Row}");
        // The model's operations are the same whoever computes them.
        foreach (var peer in peers)
        {
            string shape = peer.Shape.ToString();
            string[]? same = lines
                .Skip(1)
                .Select(line => line.Split(','))
                .FirstOrDefault(fields => Field(fields, "shape") == shape);
            double? teraflop = double.TryParse(
                Field(same, "teraflop"),
                System.Globalization.CultureInfo.InvariantCulture,
                out double operations
            )
                ? operations
                : null;
            string rate = SpeedCommand.Number(peer.Shape.Tokens / peer.Milliseconds * 1e3);
            text.WriteLine(
                string.Join(
                    ',',
                    header.Select(column =>
                        column switch
                        {
                            "program" => "pytorch",
                            "shape" => shape,
                            "real_tokens" => SpeedCommand.Number(peer.Shape.Tokens),
                            "variant" => peer.Form,
                            "measure" => "step",
                            "min_ms" => SpeedCommand.Number(peer.Milliseconds),
                            "tokens_per_second" or "real_tokens_per_second" => rate,
                            "teraflop" => SpeedCommand.Number(teraflop),
                            "mfu" => SpeedCommand.Number(
                                machine.Peak is { } peak ? teraflop * 1e12 / (peer.Milliseconds / 1e3) / peak : null
                            ),
                            "memory_gib" => SpeedCommand.Number(peer.PeakGiB),
                            _ => "",
                        }
                    )
                )
                    + ","
                    + machine.Row
            );
        }
        SpeedCommand.AtomicWrite(file, text.ToString());

        string Field(string[]? fields, string column)
        {
            int at = Array.IndexOf(header, column);
            return fields is not null && at >= 0 && at < fields.Length ? fields[at] : "";
        }
    }
}
