using System.Globalization;
using System.Text;

namespace AttentionDistillation.Benchmarks;

/// <summary>The chart of the relation's table: time and memory against the shape, on logarithmic axes, as SVG.</summary>
internal static class SpeedChart
{
    private sealed record Series(string Program, string Form, string Label, string Colour, string Dash);

    // Colours that stay apart for colour-blind readers (Okabe and Ito).
    private static readonly Series[] All =
    [
        new("PyTorch", "eager", "PyTorch, as written", "#D55E00", ""),
        new("PyTorch", "compile", "PyTorch, torch.compile", "#E69F00", ""),
        new("this library", "dense", "this library, as written", "#999999", "2 3"),
        new("this library", "fused", "this library", "#0072B2", ""),
        new("this library", "padded", "this library, half padded", "#56B4E9", "6 3"),
        new("PyTorch", "sdpa-floor", "attention alone (floor)", "#009E73", "2 3"),
    ];

    private const int Width = 1180;
    private const int Height = 440;
    private const int PanelWidth = 430;
    private const int PanelHeight = 300;
    private const int Left = 70;
    private const int Top = 60;
    private const int Gap = 110;

    internal static BenchmarkCommand Command { get; } =
        new("chart", "[--from FOLDER] [--to FILE.svg]", "the chart from the tables", Run);

    internal static int Run(Arguments arguments)
    {
        string table = arguments["from"] ?? "data/results/speed/relation-kl-h100.csv";
        Draw(table, arguments["to"] ?? Path.ChangeExtension(table, ".svg"));
        return 0;
    }

    /// <summary>Draws a table of the relation's times.</summary>
    internal static void Draw(string table, string file)
    {
        string[][] rows = [.. File.ReadLines(table).Select(line => line.Split(','))];
        int Column(string name) =>
            Array.IndexOf(rows[0], name) is var at and >= 0
                ? at
                : throw new InvalidDataException($"{table} has no column '{name}'.");
        double Number(string[] row, string name) => double.Parse(row[Column(name)], CultureInfo.InvariantCulture);
        var points = rows.Skip(1)
            .Select(row =>
                (
                    Program: row[Column("program")],
                    Form: row[Column("form")],
                    Shape: new RelationShape((long)Number(row, "batch"), (long)Number(row, "length")),
                    Time: Number(row, "milliseconds"),
                    Memory: Number(row, "peak_gib")
                )
            )
            .ToArray();
        // By length, then by batch: the axis tells both.
        RelationShape[] shapes =
        [
            .. points.Select(point => point.Shape).Distinct().OrderBy(shape => shape.Length).ThenBy(shape => shape.Batch),
        ];
        string device = rows.Length > 1 ? rows[1][Column("device")].Trim('"') : "";
        var svg = new StringBuilder();
        Append(
            $"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {Width} {Height}" font-family="Helvetica, Arial, sans-serif" font-size="12">"""
        );
        Append($"""<rect width="{Width}" height="{Height}" fill="white"/>""");
        Append(
            $"""<text x="{Left}" y="24" font-size="15" font-weight="bold">KL of two attention maps, forward and backward, 12 heads of 64 ({Escape(device)})</text>"""
        );
        Panel(Left, "milliseconds", points.Select(point => (point.Program, point.Form, point.Shape, point.Time)));
        Panel(
            Left + PanelWidth + Gap,
            "GiB, peak",
            points.Select(point => (point.Program, point.Form, point.Shape, point.Memory))
        );
        Append($"</svg>");
        SpeedCommand.AtomicWrite(file, svg.ToString());

        void Panel(int x0, string unit, IEnumerable<(string Program, string Form, RelationShape Shape, double Value)> all)
        {
            var values = all.Where(point =>
                    point.Value > 0 && All.Any(series => series.Program == point.Program && series.Form == point.Form)
                )
                .ToArray();
            if (values.Length == 0)
                return;
            int low = (int)Math.Floor(Math.Log10(values.Min(point => point.Value))),
                high = (int)Math.Ceiling(Math.Log10(values.Max(point => point.Value)));
            high = Math.Max(high, low + 1);
            double X(RelationShape shape) => x0 + ((Array.IndexOf(shapes, shape) + 0.5) * PanelWidth / shapes.Length);
            double Y(double value) => Top + (PanelHeight * (high - Math.Log10(value)) / (high - low));
            for (int power = low; power <= high; power++)
            {
                double y = Y(Math.Pow(10, power));
                Append($"""<line x1="{x0}" y1="{y:f1}" x2="{x0 + PanelWidth}" y2="{y:f1}" stroke="#dddddd"/>""");
                Append($"""<text x="{x0 - 8}" y="{y + 4:f1}" text-anchor="end">{Math.Pow(10, power):0.###}</text>""");
            }
            Append($"""<text x="{x0}" y="{Top - 12}" font-weight="bold">{unit}</text>""");
            foreach (var shape in shapes)
                Append(
                    $"""<text x="{X(shape):f1}" y="{Top + PanelHeight + 18}" text-anchor="middle" font-size="10">{shape.Batch}×{shape.Length}</text>"""
                );
            Append(
                $"""<text x="{x0 + (PanelWidth / 2)}" y="{Top + PanelHeight + 36}" text-anchor="middle">sequences × tokens</text>"""
            );
            int entry = 0;
            foreach (var series in All)
            {
                var line = values
                    .Where(point => point.Program == series.Program && point.Form == series.Form)
                    .OrderBy(point => Array.IndexOf(shapes, point.Shape))
                    .ToArray();
                if (line.Length == 0)
                    continue;
                string path = string.Join(' ', line.Select(point => Text($"{X(point.Shape):f1},{Y(point.Value):f1}")));
                Append(
                    $"""<polyline points="{path}" fill="none" stroke="{series.Colour}" stroke-width="2" stroke-dasharray="{series.Dash}"/>"""
                );
                foreach (var point in line)
                    Append(
                        $"""<circle cx="{X(point.Shape):f1}" cy="{Y(point.Value):f1}" r="3" fill="{series.Colour}"><title>{series.Label}, {point.Shape}: {point.Value:0.###} {unit}</title></circle>"""
                    );
                if (x0 == Left)
                {
                    int column = entry % 3,
                        row = entry++ / 3;
                    int lx = Left + (column * 240),
                        ly = Top + PanelHeight + 56 + (row * 18);
                    Append(
                        $"""<line x1="{lx}" y1="{ly - 4}" x2="{lx + 26}" y2="{ly - 4}" stroke="{series.Colour}" stroke-width="2" stroke-dasharray="{series.Dash}"/>"""
                    );
                    Append($"""<text x="{lx + 32}" y="{ly}">{series.Label}</text>""");
                }
            }
        }

        void Append(FormattableString line) => svg.Append(Text(line)).Append('\n');
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private static string Escape(string text) => System.Security.SecurityElement.Escape(text);
}
