using System.Globalization;
using System.Net;
using System.Text;

namespace AttentionDistillation.Runtime;

/// <summary>Writes a plain table as HTML that needs no style sheet.</summary>
internal static class HtmlTable
{
    private const string CellStyle = "padding:2px 10px;text-align:";

    /// <summary>A table: the first column is text, the others are numbers.</summary>
    /// <param name="caption">The heading.</param>
    /// <param name="columns">Titles.</param>
    /// <param name="rows">Cells, as many a row as there are titles.</param>
    internal static string Of(string caption, IReadOnlyList<string> columns, IEnumerable<IReadOnlyList<string>> rows)
    {
        var html = new StringBuilder("<table style=\"border-collapse:collapse;font-size:13px\">");
        html.Append(
            CultureInfo.InvariantCulture,
            $"<caption style=\"text-align:left;font-weight:600\">{WebUtility.HtmlEncode(caption)}</caption>"
        );
        Row(html, "th", columns);
        foreach (var row in rows)
            Row(html, "td", row);
        return html.Append("</table>").ToString();
    }

    /// <summary>A number with four significant digits.</summary>
    internal static string Short(double value) => value.ToString("G4", CultureInfo.InvariantCulture);

    private static void Row(StringBuilder html, string tag, IReadOnlyList<string> cells)
    {
        html.Append("<tr>");
        foreach (var (index, cell) in cells.Index())
            html.Append(
                CultureInfo.InvariantCulture,
                $"<{tag} style=\"{CellStyle}{(index == 0 ? "left" : "right")}\">{WebUtility.HtmlEncode(cell)}</{tag}>"
            );
        html.Append("</tr>");
    }
}
