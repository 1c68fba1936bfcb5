using Markdig;
using Markdig.Extensions.Mathematics;
using Markdig.Renderers.Html;
using Markdig.Syntax;
using Markdig.Syntax.Inlines;
using NotebookKernel.Documents;

namespace NotebookKernel.Html;

/// <summary>Markdown cells as HTML. Formulas keep their TeX, which the page's script turns into MathML; images become part of the page.</summary>
internal static class MarkdownHtml
{
    private const string AttachmentScheme = "attachment:";
    private static readonly MarkdownPipeline Pipeline = new MarkdownPipelineBuilder().UseAdvancedExtensions().Build();

    /// <summary>A cell's HTML.</summary>
    internal static string Render(NotebookCell cell, string folder)
    {
        string source = cell.Source;
        if (CellLanguages.Magic(source.Split('\n', 2)[0]) == CellLanguages.Markdown)
            source = source.Split('\n', 2).ElementAtOrDefault(1) ?? "";
        return Render(source, url => Embed(url, cell, folder));
    }

    /// <summary>HTML of Markdown text that stands alone.</summary>
    internal static string Render(string markdown) => Render(markdown, url => url);

    private static string Render(string markdown, Func<string, string> embed)
    {
        var document = Markdown.Parse(markdown, Pipeline);
        foreach (var image in document.Descendants<LinkInline>().Where(link => link.IsImage && link.Url is not null))
            image.Url = embed(image.Url!);
        // Two dollars inside a paragraph also ask for a formula on a line of its own.
        foreach (var formula in document.Descendants<MathInline>().Where(formula => formula.DelimiterCount > 1))
            formula.GetAttributes().AddClass("display");
        return document.ToHtml(Pipeline);
    }

    private static string Embed(string url, NotebookCell cell, string folder)
    {
        if (url.StartsWith(AttachmentScheme, StringComparison.Ordinal))
            return cell.Attachment(url[AttachmentScheme.Length..]) ?? url;
        if (url.Contains(':'))
            return url;
        string? type = Path.GetExtension(url).ToLowerInvariant() switch
        {
            ".png" => "image/png",
            ".jpg" or ".jpeg" => "image/jpeg",
            ".svg" => "image/svg+xml",
            ".gif" => "image/gif",
            _ => null,
        };
        string file = Path.Combine(folder, Uri.UnescapeDataString(url));
        return type is not null && File.Exists(file)
            ? $"data:{type};base64,{Convert.ToBase64String(File.ReadAllBytes(file))}"
            : url;
    }
}
