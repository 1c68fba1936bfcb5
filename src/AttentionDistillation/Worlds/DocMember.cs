namespace AttentionDistillation.Worlds;

/// <summary>What a documented member is.</summary>
public enum MemberKind : byte
{
    /// <summary>A class, structure, interface, enumeration or delegate.</summary>
    Type,

    /// <summary>A method, constructor or operator.</summary>
    Method,

    /// <summary>A property or indexer.</summary>
    Property,

    /// <summary>A field or a value of an enumeration.</summary>
    Field,

    /// <summary>An event.</summary>
    Event,
}

/// <summary>The part of the corpus a text belongs to.</summary>
public enum DocSplit : byte
{
    /// <summary>For training.</summary>
    Train,

    /// <summary>For choosing settings.</summary>
    Validation,

    /// <summary>For the final figures.</summary>
    Test,
}

/// <summary>One member of the reference documentation, cleaned.</summary>
/// <param name="Id">The documentation id, for example <c>M:System.IO.File.Open(System.String,System.IO.FileMode)</c>.</param>
/// <param name="Kind">What the member is.</param>
/// <param name="Summary">The summary as plain text.</param>
/// <param name="Template">The summary with every cross-reference replaced by one sign, so that texts that differ only in type names agree.</param>
/// <param name="Passages">Remarks, parameters and return value as plain texts.</param>
internal sealed record DocMember(string Id, MemberKind Kind, string Summary, string Template, IReadOnlyList<string> Passages);
