using AttentionDistillation.Experiments;
using AttentionDistillation.Tests.Support;

namespace AttentionDistillation.Tests.Experiments;

public class PublishedTableTests
{
    private const string Header = "table,row,column,value,unit,source,seen,note\n";

    private static PublishedTable Read(string lines)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.At("t.csv"), Header + lines);
        return PublishedTable.Read(folder.At("t.csv"));
    }

    [Fact]
    public void NumbersAreFoundByPlaceAndKeepTheDagger()
    {
        var table = Read("t,a,x,1.5,points,s,yes,\nt,a,y,2,points,s,†,from memory\n");
        Assert.Equal("1.5", table["t", "a", "x"].ToString());
        Assert.Equal("2†", table["t", "a", "y"].ToString());
        Assert.Equal(["x", "y"], table.ColumnsOf("t"));
        Assert.Equal(["a"], table.RowsOf("t"));
        Assert.Null(table.Find("t", "a", "z"));
        Assert.Contains("Columns: x, y", Assert.Throws<KeyNotFoundException>(() => table["t", "a", "z"]).Message);
    }

    [Theory]
    [InlineData("t,a,x,high,points,s,yes,\n", "line 2, column 'value'")]
    [InlineData("t,a,x,NaN,points,s,yes,\n", "line 2, column 'value'")]
    [InlineData("t,a,x,1,points,s,no,\n", "line 2, column 'seen'")]
    [InlineData("t,a,x,1,points,,yes,\n", "line 2, column 'source'")]
    [InlineData("t,a,x,1,p,s,yes,\nt,a,x,2,p,s,yes,\n", "line 3, column 'column'")]
    public void MalformedFilesAreRefused(string lines, string where) =>
        Assert.Contains(where, Assert.Throws<CsvFormatException>(() => Read(lines)).Message);

    [Fact]
    public void EveryCommittedFileIsRead()
    {
        var root = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(root.FullName, "Research.sln")))
            root = root.Parent ?? throw new DirectoryNotFoundException("Run the tests from a checkout.");
        string papers = Path.Combine(root.FullName, "data", "papers");
        foreach (string file in Directory.EnumerateFiles(papers, "*.csv"))
            Assert.NotEmpty(PublishedTable.Read(file).Values);
        var miniLm = PublishedTable.Read(Path.Combine(papers, "01-minilm.csv"));
        Assert.Equal("81.7", miniLm["dev results", "MiniLM 12×384", "SQuAD2"].ToString());
        Assert.Equal("92†", miniLm["dev results", "MiniLM 6×768", "SST-2"].ToString());
    }
}
