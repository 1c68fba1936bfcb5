using AttentionDistillation.Runtime;

namespace AttentionDistillation.Models.Hub;

/// <summary>
/// Replaces the files of a folder together: all are written in a temporary folder inside it, and take their names only when the last is complete.
/// </summary>
internal sealed class FolderReplacement
{
    private readonly string temporary;
    private readonly List<string> names = [];

    private FolderReplacement(string temporary) => this.temporary = temporary;

    /// <summary>Writes files and puts them in place; on any failure the folder is as it was.</summary>
    /// <param name="folder">Created if need be.</param>
    /// <param name="write">Writes the files; the one written last takes its name last.</param>
    /// <param name="isObsolete">True for the name of a file that goes when it is not written anew.</param>
    public static void Write(string folder, Action<FolderReplacement> write, Func<string, bool> isObsolete)
    {
        string full = Path.GetFullPath(folder);
        bool created = !Directory.Exists(full);
        Directory.CreateDirectory(full);
        string temporary = Path.Combine(full, $".{Guid.NewGuid():N}{AtomicFile.PartialSuffix}");
        try
        {
            var files = new FolderReplacement(Directory.CreateDirectory(temporary).FullName);
            write(files);
            files.Commit(full, isObsolete);
        }
        catch
        {
            Directory.Delete(temporary, recursive: true);
            if (created)
                Directory.Delete(full);
            throw;
        }
        Directory.Delete(temporary, recursive: true);
    }

    /// <summary>Where a file of this name is to be written now.</summary>
    public string PathOf(string name)
    {
        names.Add(name);
        return Path.Combine(temporary, name);
    }

    /// <summary>Writes one file.</summary>
    public void Write(string name, Action<Stream> write) => AtomicFile.Write(PathOf(name), write, soleWriter: true);

    /// <summary>
    /// Renames only, so it takes microseconds. The file written last (a checkpoint's configuration) leaves first and arrives last: were the process
    /// killed in between, readers would find a folder without it and refuse, not a mixture of old and new.
    /// </summary>
    private void Commit(string folder, Func<string, bool> isObsolete)
    {
        string previous = Directory.CreateDirectory(Path.Combine(temporary, "previous")).FullName;
        string[] leaving =
        [
            .. names.AsEnumerable().Reverse(),
            .. Directory.EnumerateFiles(folder).Select(path => Path.GetFileName(path)!).Where(isObsolete).Except(names),
        ];
        var undo = new Stack<Action>();
        try
        {
            foreach (string name in leaving.Where(name => File.Exists(Path.Combine(folder, name))))
                Move(Path.Combine(folder, name), Path.Combine(previous, name));
            foreach (string name in names)
                Move(Path.Combine(temporary, name), Path.Combine(folder, name));
        }
        catch
        {
            while (undo.TryPop(out var back))
                back();
            throw;
        }

        void Move(string from, string to)
        {
            File.Move(from, to);
            undo.Push(() => File.Move(to, from));
        }
    }
}
