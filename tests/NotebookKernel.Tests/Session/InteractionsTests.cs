using NotebookKernel.Session;

namespace NotebookKernel.Tests.Session;

public sealed class InteractionsTests
{
    [Fact]
    public void A_cell_is_cut_where_the_compiler_would_stop_reading() =>
        Assert.Equal(["let x = 1\n", "         \n  \nx"], Interactions.Split("let x = 1\n;;\nx"));

    [Theory]
    [InlineData("let s = \";;\"")]
    [InlineData("// ;;")]
    [InlineData("(* ;;\n ;; *) 1")]
    [InlineData("\"\"\"a\n;;\"\"\"")]
    public void Strings_and_comments_are_left_whole(string code) => Assert.Equal([code], Interactions.Split(code));

    [Fact]
    public void A_last_terminator_ends_nothing() => Assert.Equal(["1"], Interactions.Split("1;;\n"));
}
