using NotebookKernel.Documents;
namespace NotebookKernel.Html;
/// <summary>x</summary>
public static class HtmlPage { /// <summary>x</summary>
public static string Render(NotebookDocument d) => d.Title; }
