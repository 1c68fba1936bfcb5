using AttentionDistillation.Experiments;
using AttentionDistillation.Tests.Support;
using FsCheck.Xunit;

namespace AttentionDistillation.Tests.Experiments;

public class CsvTests
{
    [Fact]
    public void QuotesCommasAndLineEndsAreRead()
    {
        var table = CsvTable.Parse("\uFEFFa,b\r\n\"x, \"\"y\"\"\r\nz\",†\r\n\n1,\n", "test");
        Assert.Equal(["a", "b"], table.Columns);
        Assert.Equal("x, \"y\"\r\nz", table.Rows[0]["a"]);
        Assert.Equal("†", table.Rows[0]["b"]);
        Assert.Equal("", table.Rows[1]["b"]);
        Assert.Equal((2, 5), (table.Rows[0].Line, table.Rows[1].Line));
    }

    [Property]
    public void WhatIsWrittenIsRead(string[][] cells)
    {
        var rows = cells
            .Select(row => new[] { "row", row.ElementAtOrDefault(0) ?? "", row.ElementAtOrDefault(1) ?? "" })
            .ToArray();
        var table = CsvTable.Parse(CsvTable.Format(["a", "b", "c"], rows), "test");
        Assert.Equal(rows, table.Rows.Select(row => row.Fields.ToArray()));
    }

    [Theory]
    [InlineData("", "line 1")]
    [InlineData("a,b\n1\n", "line 2, column 2")]
    [InlineData("a,b\n1,2,3\n", "line 2, column 3")]
    [InlineData("a,b\n1,\"2\n", "line 2, column 2")]
    [InlineData("a,b\n1,2\"\n", "line 2, column 2")]
    [InlineData("a,b\n\"1\"x,2\n", "line 2, column 1")]
    [InlineData("a,a\n", "line 1")]
    [InlineData("a,c\n", "no column 'b'")]
    public void MalformedTextIsRefused(string text, string where)
    {
        var error = Assert.Throws<CsvFormatException>(() => CsvTable.Parse(text, "file.csv", "b"));
        Assert.Contains("file.csv", error.Message);
        Assert.Contains(where, error.Message);
    }

    [Fact]
    public void TextThatIsNotUtf8IsRefused()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder.At("x.csv"), [(byte)'a', (byte)'\n', 0xFF]);
        Assert.Contains("UTF-8", Assert.Throws<CsvFormatException>(() => CsvTable.Read(folder.At("x.csv"))).Message);
    }
}
