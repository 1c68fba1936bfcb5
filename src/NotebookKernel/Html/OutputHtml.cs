using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using NotebookKernel.Documents;
using MimeBundle = AttentionDistillation.Notebooks.MimeBundleModule;

namespace NotebookKernel.Html;

/// <summary>Appends outputs of cells to a page, each in its richest form that works without a network.</summary>
internal sealed class OutputHtml(StringBuilder body)
{
    /// <summary>Whether a chart was appended.</summary>
    internal bool HasCharts { get; private set; }

    internal void AppendAll(JsonArray? outputs)
    {
        foreach (var output in outputs?.OfType<JsonObject>() ?? [])
            switch (NotebookDocument.Text(output["output_type"]))
            {
                case "stream":
                    string name = NotebookDocument.Text(output["name"]) == "stderr" ? "stream error-stream" : "stream";
                    AppendText(name, MultilineText.FromLines(output["text"]));
                    break;
                case "error":
                    var lines = (output["traceback"] as JsonArray)?.Select(NotebookDocument.Text) ?? [];
                    AppendText("error", string.Join('\n', lines));
                    break;
                default:
                    if (output["data"] is JsonObject data)
                        AppendData(data);
                    break;
            }
    }

    private void AppendData(JsonObject data)
    {
        if (data[MimeBundle.PlotlyMimeType] is { } figure)
        {
            HasCharts = true;
            // The default encoder escapes '<', so that no text in a figure can end the script element.
            body.Append("<div class=\"output chart\"><script type=\"application/json\">")
                .Append(figure.ToJsonString())
                .Append("</script></div>\n");
        }
        else if (data[MimeBundle.HtmlMimeType] is { } html)
            AppendHtml("html", MultilineText.FromLines(html));
        else if (data["image/svg+xml"] is { } svg)
            AppendHtml("image", MultilineText.FromLines(svg));
        else if (data.FirstOrDefault(form => form.Key is "image/png" or "image/jpeg") is { Value: { } image, Key: var type })
            AppendHtml(
                "image",
                $"<img alt=\"\" src=\"data:{type};base64,{MultilineText.FromLines(image).ReplaceLineEndings("")}\">"
            );
        else if (data["text/markdown"] is { } markdown)
            AppendHtml("markdown", MarkdownHtml.Render(MultilineText.FromLines(markdown)));
        else if (data["text/latex"] is { } tex)
            AppendHtml("html", $"<div class=\"math\">{WebUtility.HtmlEncode(MultilineText.FromLines(tex))}</div>");
        else if (data[MimeBundle.TextMimeType] is { } text)
            AppendText("text", MultilineText.FromLines(text));
    }

    private void AppendHtml(string kind, string html) => body.Append($"<div class=\"output {kind}\">{html}</div>\n");

    private void AppendText(string kind, string text) =>
        body.Append($"<pre class=\"output {kind}\">{WebUtility.HtmlEncode(text.TrimEnd('\n'))}</pre>\n");
}
