using System.Globalization;

namespace AttentionDistillation.Benchmarks;

/// <summary>Options of a command: <c>--name value</c>.</summary>
internal sealed class Arguments(IEnumerable<string> arguments)
{
    private readonly string[] given = [.. arguments];

    /// <summary>An option's value, or null.</summary>
    internal string? this[string name]
    {
        get
        {
            int at = Array.IndexOf(given, "--" + name);
            return at >= 0 && at + 1 < given.Length ? given[at + 1] : null;
        }
    }

    /// <summary>An option's values, separated by commas; null when it is not given.</summary>
    internal string[]? List(string name) => this[name]?.Split(',', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>An option's whole number, or another.</summary>
    internal int Number(string name, int otherwise) =>
        this[name] is { } text ? int.Parse(text, CultureInfo.InvariantCulture) : otherwise;

    /// <summary>Shapes written as 8x2048, or others.</summary>
    internal RelationShape[] Shapes(RelationShape[] otherwise) =>
        List("shapes")?.Select(RelationShape.Parse).ToArray() ?? otherwise;
}

/// <summary>Batch and length of a relation; heads and their width are the same in all tables.</summary>
internal readonly record struct RelationShape(long Batch, long Length)
{
    internal const long Heads = 12;
    internal const long Width = 64;

    /// <summary>The shapes of the tables, in the order of their memory.</summary>
    internal static RelationShape[] OnDevice { get; } =
    [new(32, 128), new(1, 8192), new(32, 512), new(8, 2048), new(1, 16384), new(1, 32768), new(1, 65536), new(1, 131072)];

    /// <summary>What a CPU does in seconds.</summary>
    internal static RelationShape[] OnCpu { get; } = [new(1, 128), new(1, 512), new(1, 2048)];

    internal double Tokens => (double)Batch * Length;

    internal double MapElements => Tokens * Length * Heads;

    internal static RelationShape Parse(string text) =>
        text.Split('x') is [var batch, var length]
        && long.TryParse(batch, NumberStyles.None, CultureInfo.InvariantCulture, out long sequences)
        && long.TryParse(length, NumberStyles.None, CultureInfo.InvariantCulture, out long tokens)
            ? new(sequences, tokens)
            : throw new ArgumentException($"'{text}' is no shape. Write batch x length, for example 8x2048.");

    public override string ToString() => FormattableString.Invariant($"{Batch}x{Length}");
}
