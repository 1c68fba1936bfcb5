using AttentionDistillation.Worlds;

namespace AttentionDistillation.Tests.Worlds;

public sealed class DocPacksTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("packs").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public void A_missing_pack_says_what_to_install()
    {
        var error = Assert.Throws<DirectoryNotFoundException>(() => DotNetDocs.Load(new() { Source = folder, UseCache = false }));
        Assert.Contains("apt-get install dotnet-sdk-10.0", error.Message);
        Assert.Contains(DotNetDocs.SourceVariable, error.Message);
    }

    [Fact]
    public void The_newest_ten_is_read_and_cleaned()
    {
        Write("9.0.0", "<member name='T:Old'><summary>Old.</summary></member>");
        Write("10.0.2", "<member name='T:Two'><summary>Two.</summary></member>");
        Write(
            "10.0.11",
            """
            <member name="M:System.IO.File.Open(System.String,System.IO.FileMode)">
              <summary>Opens a <see cref="T:System.IO.FileStream" /> on
                <paramref name="path" />, <see langword="null" /> &amp; all.</summary>
              <param name="path">The file.</param><exception cref="T:X">never</exception>
              <returns>A stream.</returns>
              <remarks><para>First.</para><code>no code</code><para>Second.</para></remarks>
            </member>
            <member name="E:A.B"/><member name="P:A.C"><summary></summary></member><member name="!:bad"><summary>x</summary></member>
            """
        );
        var packs = DocPacks.Find(folder);
        Assert.Contains("10.0.11", packs.Version);
        var member = Assert.Single(DocReader.Read(Assert.Single(packs.Files)));
        Assert.Equal("Opens a FileStream on path, null & all.", member.Summary);
        Assert.Equal("Opens a @ on path, null & all.", member.Template);
        Assert.Equal(["The file.", "A stream.", "First. Second."], member.Passages);
        Assert.Equal("File.Open(String, File Mode)", MemberNames.Signature(member.Id));
        Assert.Equal("System.IO", MemberNames.Namespace(member.Id, new HashSet<string> { "System.IO.File" }));
    }

    [Fact]
    public void Malformed_xml_is_named()
    {
        string file = Write("10.0.1", "<member name='T:A'><summary>cut");
        var error = Assert.Throws<InvalidDataException>(() => DotNetDocs.Load(new() { Source = folder, UseCache = false }));
        Assert.Contains(file, error.Message);
    }

    private string Write(string version, string members)
    {
        string target = Path.Combine(folder, DocPacks.CorePack, version, "ref", "net10.0");
        Directory.CreateDirectory(target);
        string file = Path.Combine(target, "System.Runtime.xml");
        File.WriteAllText(
            file,
            $"<?xml version=\"1.0\"?><doc><assembly><name>X</name></assembly><members>{members}</members></doc>"
        );
        return file;
    }
}
