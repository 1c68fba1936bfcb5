/// How charts, frames and tensors are shown in a notebook.
module AttentionDistillation.Notebooks.Formatters

open System
open Microsoft.DotNet.Interactive.Formatting
open Plotly.NET

let private plotlyAddress = "https://cdn.plot.ly/plotly-2.28.0.min.js"

let private chartHtml (chart: GenericChart) =
    let id = "chart-" + Guid.NewGuid().ToString "N"

    $"""<div id="{id}"></div><script>(function(){{var draw=function(){{var f={GenericChart.toJson chart};Plotly.newPlot("{id}",f.data,f.layout,{{responsive:true}});}};
if(window.Plotly){{draw();}}else{{var s=document.getElementById("plotly-script");if(!s){{s=document.createElement("script");s.id="plotly-script";s.src="{plotlyAddress}";document.head.appendChild(s);}}s.addEventListener("load",draw);}}}})();</script>"""

/// Registers the formatters; a second call replaces them by the same.
let register () : unit =
    Formatter.Register<GenericChart>(Func<GenericChart, string> GenericChart.toJson, MimeBundle.PlotlyMimeType)
    Formatter.Register<GenericChart>(Func<GenericChart, string> chartHtml, MimeBundle.HtmlMimeType)
    Formatter.Register<GenericChart>(Func<GenericChart, string>(fun _ -> "Plotly chart"), MimeBundle.TextMimeType)
