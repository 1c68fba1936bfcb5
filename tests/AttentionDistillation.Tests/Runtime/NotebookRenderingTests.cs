using System.Collections;
using System.Net;
using System.Reflection;
using AttentionDistillation.Attention;
using AttentionDistillation.Experiments;
using AttentionDistillation.Losses;
using AttentionDistillation.Tests.Experiments;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Runtime;

/// <summary>
/// The convention by which .NET Interactive and Verso find formatters without being referenced: an attribute of a known name, read by
/// reflection, and a parameterless <c>ToHtml</c>.
/// </summary>
public class NotebookRenderingTests
{
    // As a host does it: nothing of the library is named but the attribute.
    private static string Render(object value)
    {
        var attribute = value
            .GetType()
            .GetCustomAttributes()
            .Single(each => each.GetType().Name == "TypeFormatterSourceAttribute");
        Assert.Equal(["text/html"], (string[])attribute.GetType().GetProperty("PreferredMimeTypes")!.GetValue(attribute)!);
        var sourceType = (Type)attribute.GetType().GetProperty("FormatterSourceType")!.GetValue(attribute)!;
        object source = Activator.CreateInstance(sourceType)!;
        var formatters = (IEnumerable)sourceType.GetMethod("CreateTypeFormatters")!.Invoke(source, [])!;
        object formatter = Assert.Single(formatters.Cast<object>());
        Assert.Equal("text/html", formatter.GetType().GetProperty("MimeType")!.GetValue(formatter));
        var format = formatter.GetType().GetMethod("Format", [typeof(object), typeof(TextWriter)])!;
        using var writer = new StringWriter();
        Assert.Equal(true, format.Invoke(formatter, [value, writer]));
        Assert.Equal(false, format.Invoke(formatter, ["another library's value", TextWriter.Null]));
        Assert.Equal(value.GetType().GetMethod("ToHtml", Type.EmptyTypes)!.Invoke(value, []), writer.ToString());
        return writer.ToString();
    }

    [Fact]
    public void AttentionStatesShowAMapOfEachHead()
    {
        using var scope = NewDisposeScope();
        var query = zeros(2, 3, 4, 8);
        string html = Render(new AttentionState(query, query, query, null, isCausal: true));
        Assert.Contains("query [2, 3, 4, 8]", html);
        Assert.Contains("causal", html);
        Assert.Equal(3, html.Split(">head ").Length - 1);
        // Zero queries attend evenly to what they may see: 4 + 3 + 2 + 1 cells a head, none in white.
        Assert.Equal(3 * 10, html.Split("fill-opacity").Length - 1);
    }

    [Fact]
    public void LossTermsShowValuesAndShares()
    {
        using var scope = NewDisposeScope();
        string html = Render(LossTerms.Of("attention <KL>", tensor(1.5f)).Add("value", tensor(0.25f), 2));
        Assert.Contains("attention &lt;KL&gt;", html);
        Assert.Contains(">2</td>", html); // the total: 1.5 + 2 * 0.25
    }

    [Fact]
    public void AblationsShowMeanAndDeviation()
    {
        var result = AblationTests.ResultOf(("plain", [80, 81, 82]), ("with <b>", [90, 90, 90]));
        string html = Render(result);
        Assert.Contains(">81 ± 1<", WebUtility.HtmlDecode(html));
        Assert.Contains(">90 ± 0<", WebUtility.HtmlDecode(html));
        Assert.Contains("with &lt;b&gt;", html);
        Assert.Contains(">80</td>", Render(result.Cells[0]));
    }
}
