using NotebookKernel.Documents;

namespace NotebookKernel.Tests.Documents;

public sealed class NotebookDocumentTests
{
    private static string With(string cells, string metadata = "{}") =>
        $$"""{"cells":[{{cells}}],"metadata":{{metadata}},"nbformat":4,"nbformat_minor":4}""";

    private static string Code(string source, string metadata = "{}") =>
        $$"""{"cell_type":"code","execution_count":null,"metadata":{{metadata}},"outputs":[],"source":"{{source}}"}""";

    [Theory]
    [InlineData("not json", "not JSON")]
    [InlineData("[1]", "no list of cells")]
    [InlineData("{}", "no list of cells")]
    [InlineData("""{"a":1,"a":2}""", "not JSON")]
    [InlineData("""{"cells":[]}""", "nbformat")]
    [InlineData("""{"worksheets":[],"nbformat":3,"metadata":{}}""", "nbformat 3")]
    [InlineData("""{"cells":[3],"nbformat":4}""", "cell 1 is not an object")]
    [InlineData("""{"cells":[{"cell_type":"poem","source":""}],"nbformat":4}""", "'poem'")]
    [InlineData("""{"cells":[{"cell_type":"code"}],"nbformat":4}""", "no source")]
    [InlineData("""{"cells":[],"nbformat":4,"metadata":7}""", "metadata")]
    public void What_is_not_a_notebook_is_refused_in_one_line(string text, string reason)
    {
        var error = Assert.Throws<NotebookFormatException>(() => NotebookDocument.Parse(text, "t.ipynb"));
        Assert.Contains(reason, error.Message);
        Assert.DoesNotContain('\n', error.Message);
    }

    [Theory]
    [InlineData("#!csharp\\nvar x = 1;", "{}", "{}", "C#")]
    [InlineData("1", """{"polyglot_notebook":{"kernelName":"csharp"}}""", "{}", "C#")]
    [InlineData("1", """{"dotnet_interactive":{"language":"pwsh"}}""", "{}", "PowerShell")]
    [InlineData("1", "{}", """{"kernelspec":{"language":"C#","name":".net-csharp"}}""", "C#")]
    [InlineData("1", "{}", """{"kernelspec":{"language":"python","name":"python3"}}""", "Python")]
    [InlineData("let a = 1\\n#!javascript\\n2", "{}", "{}", "JavaScript")]
    public void A_cell_of_another_language_is_refused_by_number(string source, string cell, string notebook, string language)
    {
        string cells = $"{Code("1", """{"polyglot_notebook":{"kernelName":"fsharp"}}""")},{Code(source, cell)}";
        var document = NotebookDocument.Parse(With(cells, notebook), "t.ipynb");
        var error = Assert.Throws<NotebookFormatException>(document.RequireFSharp);
        Assert.Contains("code cell 2 is", error.Message);
        Assert.Contains(language, error.Message);
    }

    [Theory]
    [InlineData("#!fsharp\\n1", "//#!fsharp\n1")]
    [InlineData("  #!f#\\n1", "//  #!f#\n1")]
    public void Magics_that_name_F_sharp_keep_their_line(string source, string code)
    {
        var document = NotebookDocument.Parse(With(Code(source)), "t.ipynb");
        document.RequireFSharp();
        Assert.Equal(code, document.Cells[0].Code);
    }

    [Fact]
    public void A_markdown_magic_makes_text()
    {
        var document = NotebookDocument.Parse(With(Code("#!markdown\\n# T")), "t.ipynb");
        document.RequireFSharp();
        Assert.Equal(CellKind.Markdown, document.Cells[0].Kind);
        Assert.Equal("T", document.Title);
        document.PrepareForRun();
        Executed.AssertValidByOurRules(
            (System.Text.Json.Nodes.JsonObject)System.Text.Json.Nodes.JsonNode.Parse(document.ToJson())!
        );
    }

    [Fact]
    public void Preparation_is_stable_and_keeps_what_it_does_not_know()
    {
        string text = With($"{Code("1")},{Code("1")}", """{"mine":{"kept":true}}""");
        var first = NotebookDocument.Parse(text, "t.ipynb");
        first.PrepareForRun();
        var second = NotebookDocument.Parse(first.ToJson(), "t.ipynb");
        second.PrepareForRun();
        Assert.Equal(first.ToJson(), second.ToJson());
        Assert.Contains("\"kept\": true", first.ToJson());
        Assert.NotEqual(first.Cells[0].Id, first.Cells[1].Id);
    }
}
