using NotebookKernel.Documents;
using NotebookKernel.Html;

namespace NotebookKernel.Tests.Html;

public sealed class HtmlPageTests
{
    private static string Render(string cells) =>
        HtmlPage.Render(
            NotebookDocument.Parse($$"""{"cells":[{{cells}}],"metadata":{},"nbformat":4,"nbformat_minor":5}""", "t.ipynb"),
            Path.GetTempPath()
        );

    [Fact]
    public void Scripts_are_embedded_only_where_they_are_used()
    {
        string page = Render("""{"cell_type":"markdown","metadata":{},"source":"# T\n\ntext"}""");
        Assert.Contains("<title>T</title>", page);
        Assert.True(page.Length < 20_000);
        Assert.True(Render("""{"cell_type":"markdown","metadata":{},"source":"$x^2$"}""").Length > 200_000);
    }

    [Fact]
    public void Formulas_keep_their_TeX_for_the_page_to_draw()
    {
        string page = Render("""{"cell_type":"markdown","metadata":{},"source":"in $x^2$ line, $$\\sum_i p_i$$"}""");
        Assert.Contains("<span class=\"math\">\\(x^2\\)</span>", page);
        Assert.Contains("class=\"math display\"", page);
    }

    [Fact]
    public void Text_of_outputs_cannot_become_markup()
    {
        string page = Render(
            """{"cell_type":"code","execution_count":1,"metadata":{},"source":"1","outputs":[{"output_type":"stream","name":"stdout","text":"<b>&"}]}"""
        );
        Assert.Contains("&lt;b&gt;&amp;", page);
    }

    [Theory]
    [InlineData("let x = 1 // c", "<span class=\"k\">let</span> x = <span class=\"n\">1</span> <span class=\"c\">// c</span>")]
    [InlineData("\"let // 1\"", "<span class=\"s\">&quot;let // 1&quot;</span>")]
    [InlineData("#load \"a\"", "<span class=\"d\">#load</span> <span class=\"s\">&quot;a&quot;</span>")]
    [InlineData("f<'a> letter", "f&lt;&#39;a&gt; letter")]
    public void Code_is_marked(string code, string html) => Assert.Equal(html, FSharpHtml.Highlight(code));
}
