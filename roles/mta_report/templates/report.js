"use strict";
(function () {
  var form = document.getElementById("filters");
  if (!form) { return; }
  var count = document.getElementById("shown");
  var entries = Array.prototype.slice.call(document.querySelectorAll("[data-status]"));
  var groups = Array.prototype.slice.call(document.querySelectorAll("[data-group]"));

  function matches(entry, name, wanted) {
    return !wanted || (entry.getAttribute("data-" + name) || "").split("\n").indexOf(wanted) >= 0;
  }

  function apply() {
    var shown = 0;
    var active = false;
    entries.forEach(function (entry) {
      var visible = ["severity", "status", "host", "area"].every(function (name) {
        var field = form.elements[name];
        if (field && field.value) { active = true; }
        return matches(entry, name, field ? field.value : "");
      });
      entry.hidden = !visible;
      if (visible) { shown += 1; }
    });
    groups.forEach(function (group) {
      var left = group.querySelector("[data-status]:not([hidden])") !== null;
      group.hidden = active && !left;
      if (group.tagName === "DETAILS") { group.open = active && left; }
    });
    count.textContent = active ? shown + " of " + entries.length + " entries" : entries.length + " entries";
  }

  form.addEventListener("change", apply);
  form.addEventListener("reset", function () { setTimeout(apply, 0); });
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  form.hidden = false;
  apply();
}());
