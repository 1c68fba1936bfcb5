using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using NotebookKernel.Documents;

namespace NotebookKernel.Html;

/// <summary>
/// An executed notebook as one page that needs no network: scripts are embedded once, and only where something on the page uses them.
/// </summary>
public static class HtmlPage
{
    /// <summary>Renders a notebook.</summary>
    /// <param name="document">An executed notebook.</param>
    /// <param name="folder">The notebook's folder, in which images that Markdown names are looked for.</param>
    /// <returns>The page's text.</returns>
    public static string Render(NotebookDocument document, string folder)
    {
        ArgumentNullException.ThrowIfNull(document);
        ArgumentNullException.ThrowIfNull(folder);
        var body = new StringBuilder();
        var outputs = new OutputHtml(body);
        foreach (var cell in document.Cells)
            AppendCell(body, outputs, cell, folder);
        string content = body.ToString();
        var page = new StringBuilder();
        page.Append("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        page.Append("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        page.Append($"<title>{WebUtility.HtmlEncode(document.Title)}</title>\n<style>\n{PageResources.Style}</style>\n");
        if (outputs.HasCharts)
            AppendScript(page, PageResources.Plotly);
        if (content.Contains("class=\"math", StringComparison.Ordinal))
            AppendScript(page, PageResources.Katex);
        page.Append("</head>\n<body>\n<main>\n");
        AppendHeader(page, document);
        page.Append(content).Append("</main>\n");
        AppendScript(page, PageResources.Script);
        return page.Append("</body>\n</html>\n").ToString();
    }

    private static void AppendCell(StringBuilder body, OutputHtml outputs, NotebookCell cell, string folder)
    {
        switch (cell.Kind)
        {
            case CellKind.Markdown:
                body.Append("<section class=\"markdown\">\n").Append(MarkdownHtml.Render(cell, folder)).Append("</section>\n");
                break;
            case CellKind.Code:
                string count = cell.ExecutionCount is { } number ? $"[{number}]" : "[ ]";
                body.Append($"<section class=\"code\">\n<div class=\"count\">{count}</div>\n<div class=\"cell\">\n");
                body.Append("<pre class=\"source\"><code>").Append(FSharpHtml.Highlight(cell.Source)).Append("</code></pre>\n");
                outputs.AppendAll(cell.Outputs);
                body.Append("</div>\n</section>\n");
                break;
            default:
                body.Append("<section class=\"raw\"><pre>")
                    .Append(WebUtility.HtmlEncode(cell.Source))
                    .Append("</pre></section>\n");
                break;
        }
    }

    private static void AppendHeader(StringBuilder page, NotebookDocument document)
    {
        page.Append("<header>").Append($"<span>{WebUtility.HtmlEncode(document.Name)}</span>");
        if (document.Research is { } research)
        {
            Fact("scale", research["scale"]);
            Fact("device", research["device"]);
            Fact("date", research["date"]);
            Fact("commit", research["commit"]);
            if (research["duration_seconds"] is { } seconds)
                page.Append($"<span><b>time</b> {seconds} s</span>");
            Fact("libtorch", research["libtorch"]);
        }
        page.Append("</header>\n");

        void Fact(string name, JsonNode? value)
        {
            if (NotebookDocument.Text(value) is { } text)
                page.Append($"<span><b>{name}</b> {WebUtility.HtmlEncode(text)}</span>");
        }
    }

    // A script's text must not hold the tag that ends it.
    private static void AppendScript(StringBuilder page, string script) =>
        page.Append("<script>\n")
            .Append(script.Replace("</script", "<\\/script", StringComparison.OrdinalIgnoreCase))
            .Append("\n</script>\n");
}
