using System.Reflection;

namespace NotebookKernel.Html;

/// <summary>The scripts and styles that a page carries within itself.</summary>
internal static class PageResources
{
    private const string Folder = "NotebookKernel.Resources.";
    private const string PlotlyAssembly = "Plotly.NET";

    /// <summary>The page's own style sheet.</summary>
    internal static string Style => Read(typeof(PageResources).Assembly, Folder + "page.css");

    /// <summary>The script that draws charts and formulas once the page has loaded.</summary>
    internal static string Script => Read(typeof(PageResources).Assembly, Folder + "page.js");

    /// <summary>KaTeX 0.19.1 (MIT licence, beside it), which turns TeX into MathML.</summary>
    internal static string Katex => Read(typeof(PageResources).Assembly, Folder + "katex.min.js");

    /// <summary>plotly.js, of the release that Plotly.NET writes figures for: it carries the script.</summary>
    internal static string Plotly
    {
        get
        {
            var assembly = Assembly.Load(PlotlyAssembly);
            string name = assembly
                .GetManifestResourceNames()
                .Single(each =>
                    each.StartsWith("Plotly.NET.plotly-", StringComparison.Ordinal)
                    && each.EndsWith(".min.js", StringComparison.Ordinal)
                );
            return Read(assembly, name);
        }
    }

    private static string Read(Assembly assembly, string name)
    {
        using var stream =
            assembly.GetManifestResourceStream(name)
            ?? throw new InvalidOperationException($"{assembly.GetName().Name} lacks its resource {name}.");
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
