// The one line every notebook loads: #load "research.fsx"
//
// Under `research` the session already holds the libraries. Elsewhere (.NET Interactive, Verso, dotnet fsi) they come from the build of
// this repository: run `dotnet build` first.
#if !RESEARCH
#nowarn "211" // only one of the two builds need exist
#I "../src/NotebookKernel/bin/Release/net10.0"
#I "../src/NotebookKernel/bin/Debug/net10.0"
#r "AttentionDistillation.dll"
#r "AttentionDistillation.Notebooks.dll"
#r "TorchSharp.dll"
#r "DynamicObj.dll"
#r "Plotly.NET.dll"
#r "Deedle.dll"
#r "Microsoft.AspNetCore.Html.Abstractions.dll"
#r "Microsoft.DotNet.Interactive.Formatting.dll"

open System
open System.IO

// Another program's folder holds no libtorch: the library is told where the build put it, unless somebody chose one already.
if String.IsNullOrEmpty(Environment.GetEnvironmentVariable "LIBTORCH") then
    [
        for configuration in [ "Debug"; "Release" ] do
            let build =
                Path.GetFullPath(
                    Path.Combine(__SOURCE_DIRECTORY__, "..", "src", "NotebookKernel", "bin", configuration, "net10.0")
                )

            build

            if Directory.Exists(Path.Combine(build, "runtimes")) then
                yield! Directory.GetDirectories(Path.Combine(build, "runtimes"), "native", SearchOption.AllDirectories)
    ]
    |> List.tryFind (fun folder -> Directory.Exists folder && Directory.GetFiles(folder, "*torch_cpu.*").Length > 0)
    |> Option.iter (fun folder -> Environment.SetEnvironmentVariable("LIBTORCH", folder))
#endif

// A function of its own, compiled when it is called: the library looks for libtorch as soon as code that names it is compiled.
[<System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.NoInlining)>]
let private start () =
    AttentionDistillation.Notebooks.Formatters.register ()
    AttentionDistillation.Notebooks.LiveProgress.Install()
    AttentionDistillation.Runtime.RunSettings.FromEnvironment()

/// The scale and device of this run: --scale and --device, or RESEARCH_SCALE and RESEARCH_DEVICE.
let settings = start ()
