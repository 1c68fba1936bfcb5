namespace AttentionDistillation.Runtime;

/// <summary>
/// Tells a notebook host how a type appears. .NET Interactive and Verso know an attribute of this name and shape wherever it is declared,
/// so that this library is shown well there without a reference to either.
/// </summary>
/// <param name="formatterSourceType">
/// A type with a public parameterless constructor and a method <c>CreateTypeFormatters</c>, which returns objects with
/// <c>string MimeType</c> and <c>bool Format(object, TextWriter)</c>.
/// </param>
[AttributeUsage(AttributeTargets.Class | AttributeTargets.Struct | AttributeTargets.Interface)]
public sealed class TypeFormatterSourceAttribute(Type formatterSourceType) : Attribute
{
    /// <summary>The type that makes the formatters.</summary>
    public Type FormatterSourceType { get; } = formatterSourceType;

    /// <summary>MIME types in order of preference; hosts refuse an empty list.</summary>
    public string[] PreferredMimeTypes { get; set; } = [HtmlFormatterSource.HtmlMimeType];
}

/// <summary>A value that writes itself as HTML for a notebook.</summary>
public interface IHtmlValue
{
    /// <summary>The value as a fragment of HTML that needs no style sheet and no script.</summary>
    string ToHtml();
}

/// <summary>Makes the formatters of <see cref="IHtmlValue"/>; found by hosts through <see cref="TypeFormatterSourceAttribute"/>.</summary>
public sealed class HtmlFormatterSource
{
    /// <summary>The MIME type of what <see cref="IHtmlValue.ToHtml"/> gives.</summary>
    public const string HtmlMimeType = "text/html";

    /// <summary>One formatter, for HTML.</summary>
    public IEnumerable<object> CreateTypeFormatters() => [new HtmlFormatter()];
}

/// <summary>Writes <see cref="IHtmlValue"/>.</summary>
public sealed class HtmlFormatter
{
    /// <summary>The MIME type it writes.</summary>
    public string MimeType => HtmlFormatterSource.HtmlMimeType;

    /// <summary>Writes a value.</summary>
    /// <param name="value">The value.</param>
    /// <param name="writer">Where to.</param>
    /// <returns>False, with nothing written, when the value is none of this library's.</returns>
    public bool Format(object value, TextWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        if (value is not IHtmlValue html)
            return false;
        writer.Write(html.ToHtml());
        return true;
    }
}
