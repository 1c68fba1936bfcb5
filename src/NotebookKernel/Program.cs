using System.Diagnostics;
using NotebookKernel.Session;
var w = Stopwatch.StartNew();
var o = Console.Out;
using var s = new NotebookSession(Environment.CurrentDirectory);
int i = 0;
foreach (string c in File.ReadAllText(args[0]).Split("----\n"))
{
    i++;
    var st = s.RunAsync(i, c, e => o.WriteLine(e switch { CellFailed f => $"{f} {string.Join("\n", f.Traceback)}", ResultValue r => string.Join("|", r.Bundle.Select(b => b.Key + "=" + b.Value)), Displayed r => string.Join("|", r.Bundle.Select(b => b.Key + "=" + b.Value)), _ => e.ToString() })).Result;
    o.WriteLine($"== cell {i} {st} {w.ElapsedMilliseconds} ms");
}
return 0;
