// Built by make bundle from js; sources 37f98f2707a24d603b6823426b984ed7f2a65d9da1a8afc2a7c48f7e8a5f4eab, lines below 19539a740657bb2f0f3d6134e6b7797fcca4da6944f268598a000c3f446405d6
/*
htm 3.1.1, Apache License 2.0

preact 11.2.0
The MIT License (MIT)

Copyright (c) 2015-present Jason Miller

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
*/
var moeregView=(()=>{var gt=Object.defineProperty;var An=Object.getOwnPropertyDescriptor;var Tn=Object.getOwnPropertyNames;var En=Object.prototype.hasOwnProperty;var Cn=(e,t)=>{for(var o in t)gt(e,o,{get:t[o],enumerable:!0})},Ln=(e,t,o,n)=>{if(t&&typeof t=="object"||typeof t=="function")for(let r of Tn(t))!En.call(e,r)&&r!==o&&gt(e,r,{get:()=>t[r],enumerable:!(n=An(t,r))||n.enumerable});return e};var Nn=e=>Ln(gt({},"__esModule",{value:!0}),e);var cs={};Cn(cs,{attentionAt:()=>ie,contributionsAt:()=>V,createExplorer:()=>Ce,createSteps:()=>be,decisionAt:()=>C,decode:()=>kt,default:()=>is,displacementAt:()=>q,interpolate:()=>_e,layerVoxel:()=>X,mount:()=>Gt,mountAll:()=>Pn,openPayload:()=>ee,render:()=>dt,signed:()=>T,warpedAt:()=>se});var b=(e,t,o)=>Math.min(Math.max(e,t),o),Ne=(e,t)=>e===t||JSON.stringify(e)===JSON.stringify(t),w=e=>e.reduce((t,o)=>t+o,0),T=(e,t=2)=>{let o=Math.abs(e).toFixed(t);return(Number(o)===0?"\u2007":e<0?"\u2212":"+")+o},Oe=e=>T(e).trim(),N=(e,t=2)=>(e<0?"\u2212":"")+Math.abs(e).toFixed(t),fe=e=>`${Math.round(e*100)}\u2009%`,Fe=e=>["1st","2nd","3rd"][e]??`${e+1}th`,Xt=(e,t)=>e.reduce((o,n,r)=>Math.abs(n-t)<Math.abs(e[o]-t)?r:o,0);var On=50;function xt(e,{current:t,apply:o}){let n=Object.keys(t()),[r,s,i]=[t(),null,!1],c=()=>{clearTimeout(s),[s,i]=[null,!0];let p=t();for(let a of n)Ne(r[a],p[a])||e.set(a,p[a]);r=p,e.save_changes(),i=!1},l=()=>{i||(s!==null&&c(),i=!0,o(p=>e.get(p)),r=t(),i=!1)};for(let p of n)e.on(`change:${p}`,l);return{changed(){i||(s??=setTimeout(c,On))},stop(){clearTimeout(s);for(let p of n)e.off(`change:${p}`,l)}}}async function ee(e){let t=typeof e.data=="string"?Fn(e.data):e.data,o=new Blob([t]).stream().pipeThrough(new DecompressionStream("gzip")),n=new Uint8Array(await new Response(o).arrayBuffer()),r=new Map;return{...e,read:i=>(r.has(i.offset)||r.set(i.offset,kt(n,i)),r.get(i.offset))}}var Fn=e=>Uint8Array.from(atob(e),t=>t.charCodeAt(0));function vt(e){let{data:t}=e;return t instanceof DataView?{...e,data:new Uint8Array(t.buffer,t.byteOffset,t.byteLength)}:e}function kt(e,{offset:t,shape:o,bits:n,axes:r,zero:s,precision:i}){let c=o.reduce((a,f)=>a*f,1),l=n===8?e.slice(t,t+c):new Uint16Array(c);if(n===16)for(let a=0;a<c;a++)l[a]=e[t+a]+(e[t+c+a]<<8);for(let a=1,f=1;a<=r;a++){let _=o[o.length-a];for(let u=0;u<c;u++)Math.floor(u/f)%_&&(l[u]+=l[u-f]);f*=_}let p=new Float32Array(c);for(let a=0;a<c;a++)p[a]=s+l[a]*i;return{shape:o,values:p}}function P(e,...t){let o=0;for(let n=0;n<t.length;n++)o=o*e.shape[n]+t[n];return e.values[o]}function _e(e,t,o=[]){let n=e.shape.slice(o.length),r=0;for(let c=0;c<o.length;c++)r=r*e.shape[c]+o[c];let s=[[r,1]];for(let c=0;c<n.length;c++){let l=b(t[c],0,n[c]-1),p=Math.floor(l),a=l-p,f=[];for(let[_,u]of s)f.push([_*n[c]+p,u*(1-a)]),a>0&&f.push([_*n[c]+p+1,u*a]);s=f}let i=0;for(let[c,l]of s)i+=e.values[c]*l;return i}function Qt(e,t){return P(e,...e.shape.map((o,n)=>b(Math.round(t[n]),0,o-1)))}function Zt(e,t){return e.reduce((o,n,r)=>o.flatMap(s=>Array.from({length:t[r]-n},(i,c)=>[...s,n+c])),[[]])}function eo(e){return{voxel:e.start??e.shape.map(t=>t>>1),hover:null,plane:e.plane??0,layer:0,track:0,expert:0,image:"warped",show:"first",field:"result",grid:!1,arrows:!1,labels:!!e.labels,kernels:!0,live:!1,busy:!1,k:{},without:{},temperature:1}}var Re=e=>e.hover??e.voxel,to=["voxel","image","show","field","k","without","temperature"];function oo(e,t){let o=e.layers[t.layer];return{...Object.fromEntries(to.map(n=>[n,t[n]])),plane:e.axes.length===3?e.axes[t.plane]:"",layer:o?.name??"",direction:o?.tracks[t.track]??"",expert:o?.experts[t.expert]??""}}function yt(e,t){let o=(i,c)=>Math.max(0,i.indexOf(c)),n=o(e.layers.map(({name:i})=>i),t("layer")),{tracks:r,experts:s}=e.layers[n]??{tracks:[],experts:[]};return{...Object.fromEntries(to.map(i=>[i,t(i)])),plane:o(e.axes,t("plane")),layer:n,track:o(r,t("direction")),expert:o(s,t("expert"))}}function De(e){let t=new Set;return{get state(){return e},set(o){let n=Object.entries(o).filter(([s,i])=>!Ne(e[s],i));if(!n.length)return;e={...e,...Object.fromEntries(n)};let r=new Set(n.map(([s])=>s));for(let s of[...t])s(e,r)},subscribe(o){return t.add(o),()=>t.delete(o)}}}var ro=function(e,t,o,n){var r;t[0]=0;for(var s=1;s<t.length;s++){var i=t[s++],c=t[s]?(t[0]|=i?1:2,o[t[s++]]):t[++s];i===3?n[0]=c:i===4?n[1]=Object.assign(n[1]||{},c):i===5?(n[1]=n[1]||{})[t[++s]]=c:i===6?n[1][t[++s]]+=c+"":i?(r=e.apply(c,ro(e,c,o,["",null])),n.push(r),c[0]?t[0]|=2:(t[s-2]=0,t[s]=r)):n.push(c)}return n},no=new Map;function so(e){var t=no.get(this);return t||(t=new Map,no.set(this,t)),(t=ro(this,t.get(e)||(t.set(e,t=(function(o){for(var n,r,s=1,i="",c="",l=[0],p=function(_){s===1&&(_||(i=i.replace(/^\s*\n\s*|\s*\n\s*$/g,"")))?l.push(0,_,i):s===3&&(_||i)?(l.push(3,_,i),s=2):s===2&&i==="..."&&_?l.push(4,_,0):s===2&&i&&!_?l.push(5,0,!0,i):s>=5&&((i||!_&&s===5)&&(l.push(s,0,i,r),s=6),_&&(l.push(s,_,0,r),s=6)),i=""},a=0;a<o.length;a++){a&&(s===1&&p(),p(a));for(var f=0;f<o[a].length;f++)n=o[a][f],s===1?n==="<"?(p(),l=[l],s=3):i+=n:s===4?i==="--"&&n===">"?(s=1,i=""):i=n+i[0]:c?n===c?c="":i+=n:n==='"'||n==="'"?c=n:n===">"?(p(),s=1):s&&(n==="="?(s=5,r=i,i=""):n==="/"&&(s<5||o[a][f+1]===">")?(p(),s===3&&(l=l[0]),s=l,(l=l[0]).push(2,0,s),s=0):n===" "||n==="	"||n===`
`||n==="\r"?(p(),s=2):i+=n),s===3&&i==="!--"&&(s=4,l=l[0])}return p(),l})(e)),t),arguments,[])).length>1?t:t[0]}var k,ao,Rn,H,bt,We,lo,je,po,Mt,wt,Dn,he=Symbol.for("pv"),Be={},qe=[],In=/^m(i|n|o|s|text|space)$/,St=Array.isArray,Pt=qe.slice,Y=Object.assign;function G(e){e&&e.parentNode&&e.remove()}function uo(e,t,o){var n,r,s,i={},c=arguments.length;for(s in t)s=="key"?n=t[s]:s=="ref"&&typeof e!="function"?r=t[s]:i[s]=t[s];return c>2&&(i.children=c>3?Pt.call(arguments,2):o),$e(e,i,n,r,null)}function $e(e,t,o,n,r){var s={type:e,props:t,key:o,ref:n,__k:null,__:null,__b:0,__e:null,__c:null,constructor:he,__v:r||++ao,__i:-1,__u:0};return!r&&k.vnode&&k.vnode(s),s}function Ve(e){return e.children}function Ue(e,t){this.props=e,this.context=t,this.__g=0}function W(e,t){if(t==null)return e.__&&W(e.__,e.__i+1);for(var o;t<e.__k.length;t++)if((o=e.__k[t])&&o.__e)return o.__e;return typeof e.type!="function"||e.props.__P?null:W(e)}function jn(e){var t,o=e.__v,n=o.__e,r=[],s=[],i=e.__P;i&&((t=Y({constructor:he},o)).__v=o.__v+1,k.vnode&&k.vnode(t),At(i,t,o,e.__n,i.namespaceURI,32&o.__u?[n]:null,r,n||W(o),32&o.__u,s),t.__v=o.__v,t.__.__k[t.__i]=t,go(r,t,s),o.__=o.__e=null,t.__e!=n&&mo(t))}function mo(e){if((e=e.__)&&e.__c&&!e.props.__P)return e.__e=null,e.__k.some(function(t){return t&&(e.__e=t.__e)}),mo(e)}function io(e){(8&e.__g||(e.__g|=8,H.push(e),We++))&&bt==k.debounceRendering||((bt=k.debounceRendering)||queueMicrotask)(fo)}function fo(){try{for(var e,t=1;H.length;)H.length>t&&H.sort(lo),e=H.shift(),t=H.length,8&e.__g&&jn(e)}finally{(We=H.length)&&(bt||queueMicrotask)(fo)}}function _o(e,t,o,n,r,s,i,c,l,p,a){var f,_,u,$,d,h,x=n.__k||qe,g=t.length;for(l=Un(o,t,x,l,g),f=0;f<g;f++)(u=o.__k[f])!=null&&(_=~u.__i&&x[u.__i]||Be,u.__i=f,h=At(e,u,_,r,s,i,c,l,p,a),$=u.__e,(_.ref!=u.ref||8&_.__u)&&(_.ref&&Tt(_.ref,null,u,_),u.ref&&a.push(u.ref,u.__c||$,u)),d=d||$,4&u.__u?(l=$o(u,l,e,!_.__v),_.__e&&(_.__e=null)):typeof u.type=="function"&&h!==void 0?l=h:$&&(l=$.nextSibling),u.__u&=-21);return o.__e=d,l}function Un(e,t,o,n,r){var s,i,c,l,p,a,f,_,u,$=o.length,d=$,h=0,x=0,g=e.__k=Array(r);for(s=0;s<r;s++)(i=t[s])!=null&&typeof i!="boolean"&&typeof i!="function"?(typeof i!="object"||i.constructor===String?i=g[s]=$e(null,i):St(i)?i=g[s]=$e(Ve,{children:i}):i.constructor===he&&i.__b?i=g[s]=$e(i.type,i.props,i.key,i.ref,i.__v):g[s]=i,l=s+h,i.__=e,i.__b=e.__b+1,c=null,~(p=i.__i=Hn(i,o,l,d))&&(d--,(c=o[p])&&(c.__u|=2)),c&&c.__v?(i.__u|=16,p==l-1?h--:p==l+1?h++:p!=l&&(p>l?h--:h++,x=1)):(~p||(r>$?h--:r<$&&h++),typeof i.type!="function"&&(i.__u|=4))):g[s]=null;if(x){for(a=[],f=[],s=0;s<r;s++)if((i=g[s])&&16&i.__u){for(h=0,_=a.length;h<_;)a[u=h+_>>1]<i.__i?h=u+1:_=u;a[h]=i.__i,f[s]=h+1}for(h=a.length;s--;)f[s]&&(f[s]==h?h--:g[s].__u|=4)}if(d)for(s=0;s<$;s++)!(c=o[s])||2&c.__u||(c.__e==n&&(n=W(c)),Et(c,c));return n}function $o(e,t,o,n){var r,s,i,c;if(typeof e.type=="function"){if(e.props.__P)return t;if(r=e.__k)for(s=0;s<r.length;s++)r[s]&&(r[s].__=e,t=$o(r[s],t,o,!1));return t}for(t&&!t.parentNode&&(t=W(e))&&!t.parentNode&&(t=null),i=e.__e,c=t;c&&c.nodeType==8;)c=c.nextSibling;for(i!=c&&(!n&&o.moveBefore&&i.parentNode?o.moveBefore(i,t):o.insertBefore(i,t||null)),t=i;(t=t&&t.nextSibling)&&t.nodeType==8&&!t.data.startsWith("$s"););return t}function Hn(e,t,o,n){var r,s=e.key,i=e.type,c=t[o],l=c&&!(2&c.__u);if(c===null&&s==null||l&&s==c.key&&i==c.type)return o;if(n>(l?1:0)){for(r=o-1;r>=0;r--)if((c=t[r])&&!(2&c.__u)&&s==c.key&&i==c.type)return r;for(r=o+1;r<t.length;r++)if((c=t[r])&&!(2&c.__u)&&s==c.key&&i==c.type)return r}return-1}function co(e,t,o){o==null&&(o=""),t[0]=="-"?e.setProperty(t,o):e[t]=o}function Ie(e,t,o,n,r){var s,i;if(t=="style")if(typeof o=="string")e.style.cssText=o;else{if(typeof n=="string"&&(e.style.cssText=n=""),n)for(t in n)o&&t in o||co(e.style,t);if(o)for(t in o)n&&o[t]==n[t]||co(e.style,t,o[t])}else if(t[0]=="o"&&t[1]=="n")typeof o!="function"&&(o=null),typeof n!="function"&&(n=null),(e.__e||(e.__e={}))[t]=o,o&&n||(i=wt[t]||(wt[t]=Wn(t)),(e.__a||(e.__a={}))[t]=Mt,s=t!=(t=t.replace(po,"$1")),(t=t.slice(2))[0]<"a"&&(t=t.toLowerCase()),o?e.addEventListener(t,i,s):e.removeEventListener(t,i,s));else{if(r=="http://www.w3.org/2000/svg")t=t.replace(/xlink(H|:h)/,"h").replace(/sName$/,"s");else if(t!="width"&&t!="height"&&t!="href"&&t!="list"&&t!="form"&&t!="tabIndex"&&t!="download"&&t!="rowSpan"&&t!="colSpan"&&t!="role"&&t!="popover"&&t in e)try{return void(e[t]=o??"")}catch{}if(typeof o=="function")return;o==null||o===!1&&t[4]!="-"?e.removeAttribute(t):e.setAttribute(t,t=="popover"&&o==1?"":o)}}function Wn(e){return function(t){var o=this.__e;if(o){if(o=o[e],t[je]==null)t[je]=Mt++;else if(t[je]<this.__a[e])return;return o(k.event?k.event(t):t)}}}function At(e,t,o,n,r,s,i,c,l,p){var a,f,_,u,$,d,h,x,g,v,y,me,Yt,Le,z,Jt,U,K,R=t.type;if(t.constructor!==he)return null;128&o.__u&&(l=32&o.__u,a=o.__c.__z)&&(t.__u|=l,f=s=[],a.nodeType==8?c=He(a,s):s.push(a),c=s[0]||c),(a=k.__b)&&a(t);e:if(typeof R=="function"){_=i.length;try{if(x=t.props,g=(a=R.prototype)&&a.render,v=(a=R.contextType)&&n[a.__c],y=a?v?v.props.value:a.__:n,(u=o.__c)?(t.__c=u,2&u.__g&&(u.__g|=1)):(g?t.__c=u=new R(x,y):(t.__c=u=new Ue(x,y),u.constructor=R,u.render=qn),v&&v.sub(u),u.state||(u.state={}),u.__n=n,u.__g|=8,u.__h=[],u.__k=[]),g&&(u.__s||(u.__s=u.state),R.getDerivedStateFromProps&&(u.__s==u.state&&(u.__s=Y({},u.__s)),Y(u.__s,R.getDerivedStateFromProps(x,u.__s)))),$=u.props,d=u.state,u.__v=t,o.__c){if(x!==$&&g&&!R.getDerivedStateFromProps&&u.componentWillReceiveProps&&u.componentWillReceiveProps(x,y),t.__v==o.__v&&!(8&u.__g)||!(4&u.__g)&&u.shouldComponentUpdate&&u.shouldComponentUpdate(x,u.__s,y)===!1){t.__v!=o.__v&&(u.props=x,u.state=u.__s,u.__g&=-9),t.__e=o.__e,t.__k=o.__k,t.__k.some(function(L){L&&(L.__=t)}),qe.push.apply(u.__h,u.__k),u.__k=[],u.__h.length&&i.push(u),c=W(o);break e}u.componentWillUpdate&&u.componentWillUpdate(x,u.__s,y),g&&u.componentDidUpdate&&u.__h.push(function(){u.componentDidUpdate($,d,h)})}else g&&!R.getDerivedStateFromProps&&u.componentWillMount&&u.componentWillMount(),g&&u.componentDidMount&&u.__h.push(u.componentDidMount);u.context=y,u.props=x,u.__P=e,u.__g&=-5,me=k.__r,Yt=g?25:0;do u.__g&=-9,me&&me(t),a=u.render(u.props,u.state=u.__s,u.context);while(8&u.__g&&++Yt<25);g&&(qe.push.apply(u.__h,u.__k),u.__k=[]),u.state=u.__s,u.getChildContext&&(n=Y({},n,u.getChildContext())),g&&o.__c&&u.getSnapshotBeforeUpdate&&(h=u.getSnapshotBeforeUpdate($,d)),Le=a&&a.type===Ve&&a.key==null?a.props.children:a,x.__P&&(a=c,r=(e=x.__P).namespaceURI,l=s=null,o.props&&o.props.__P!=e&&(o.__k.some(function(L){L&&Et(L,L)}),o.__k=null),c=o.__k?W(o,0):null),c=_o(e,St(Le)?Le:[Le],t,o,n,r,s,i,c,l,p),x.__P&&(t.__e=null,c=a),t.__u&=-161,f&&f.some(G),u.__h.length&&i.push(u),1&u.__g&&(u.__g&=-4)}catch(L){if(i.length=_,t.__v=null,l||s)if(L&&L.then){if(t.__u|=128|l,s){for(~(U=s.indexOf(c||void 0))||(U=s.length);(K=s[U-1])&&K.nodeType==8;)U--;for(;U<s.length;U++)if(K=s[U])if(s[U]=null,z){if(K==Jt)break}else{if(K.nodeType!=8)break;K.data.startsWith("$s")&&(Jt=He(z=K))}}if(!z){for(;c&&c.nodeType==8&&c.nextSibling;)c=c.nextSibling;z=c}(a=He(z=t.__c.__z||(t.__c.__z=z)))?(t.__e=z,c=a):t.__e=c,c=c&&c.nextSibling}else s&&s.some(G);else t.__e=o.__e;t.__k||(t.__k=o.__k||[]),L&&L.then||ho(t),k.__e(L,t,o)}}else c=t.__e=Bn(o.__e,t,o,n,r,s,i,l,p,e);return(a=k.diffed)&&a(t),c}function He(e,t){if(e&&e.nodeType==8&&e.data.startsWith("$s"))for(var o=1;e=e.nextSibling;){if(e.nodeType==8){if(e.data.startsWith("$s"))o++;else if(e.data.startsWith("/$s")&&!--o)return e}t&&t.push(e)}}function ho(e){e&&(e.__c&&(e.__c.__g|=4),e.__k&&e.__k.some(ho))}function go(e,t,o){for(var n=0;n<o.length;)Tt(o[n++],o[n++],o[n++]);k.__c&&k.__c(t,e),e.some(function(r){try{e=r.__h,r.__h=[],e.some(function(s){s.call(r)})}catch(s){k.__e(s,r.__v)}})}function Bn(e,t,o,n,r,s,i,c,l,p){var a,f,_,u,$,d,h,x,g=o.props||Be,v=t.props,y=t.type;if(y=="svg"?r="http://www.w3.org/2000/svg":y=="math"?r="http://www.w3.org/1998/Math/MathML":r||(r="http://www.w3.org/1999/xhtml"),s){for(a=0;a<s.length;a++)if(($=s[a])&&(y?$.localName==y:$.nodeType==3)){e=$,s[a]=null;break}}if(!e){if(x=p.ownerDocument||document,!y)return x.createTextNode(v);e=x.createElementNS(r,y,v.is?v:p),c&&(k.__m&&k.__m(t,s),c=!1),s=null}if(y){if(p=y=="template"&&e.content||e,s=y=="textarea"&&v.defaultValue!=null?null:s&&Pt.call(p.childNodes),!c&&s)for(g={},a=0;a<e.attributes.length;a++)g[($=e.attributes[a]).name]=$.value;for(a in g)$=g[a],a=="dangerouslySetInnerHTML"?_=$:a=="children"||a in v||a=="value"&&"defaultValue"in v||a=="checked"&&"defaultChecked"in v||Ie(e,a,null,$,r);for(a in v)$=v[a],a=="children"?u=$:a=="dangerouslySetInnerHTML"?f=$:a=="value"?d=$:a=="checked"?h=$:c&&typeof $!="function"||g[a]===$||Ie(e,a,$,g[a],r);f?(c||_&&(f.__html==_.__html||f.__html==e.textContent)||(e.textContent=f.__html),t.__k=[]):(_&&(e.textContent=""),(y=="foreignObject"||r=="http://www.w3.org/1998/Math/MathML"&&In.test(y))&&(r="http://www.w3.org/1999/xhtml"),_o(p,St(u)?u:[u],t,o,n,r,s,i,s?s[0]:o.__k&&W(o,0),c,l),s&&s.some(G)),c&&y!="textarea"||(a="value",y=="progress"&&d==null?e.removeAttribute(a):d==null||d===e[a]&&(y!="progress"||d)||Ie(e,a,d,g[a],r),a="checked",h!=null&&h!=e[a]&&Ie(e,a,h,g[a],r))}else g===v||c&&e.data==v||(e.data=v);return e}function Tt(e,t,o,n){try{typeof e=="function"?t?t.__x=e(t)||1:n&&(n=n.__c||n.__e)&&(t=n.__x)&&(n.__x=null,typeof t=="function"?t():e(null)):e.current=t}catch(r){k.__e(r,o)}}function Et(e,t,o){var n,r,s,i;if(k.unmount&&k.unmount(e),!(n=e.ref)||n.current&&n.current!=e.__e||Tt(n,null,t,e),n=e.__c){if(n.componentWillUnmount)try{n.componentWillUnmount()}catch(c){k.__e(c,t)}n.__P=n.__n=null}if(n=e.__k)for(i=0;i<n.length;i++)n[i]&&Et(n[i],t,typeof e.type!="function"||o&&!e.props.__P);!o&&(n=e.__c)&&(n=n.__z)&&(r=He(n,s=[]))&&(n==e.__e&&s.some(G),G(r),G(n)),o||G(e.__e),e.__e=e.__c=e.__=null}function qn(e,t,o){return this.constructor(e,o)}function ze(e,t){var o,n,r,s;k.__&&k.__(e,t),t.nodeType==9&&(t=t.documentElement),n=(o=e&&32&e.__u)?null:t.__k,t.__k=$e(Ve,{children:[e]}),r=[],s=[],At(t,t.__k,n||Be,Be,t.namespaceURI,n?null:t.firstChild?Pt.call(t.childNodes):null,r,n?n.__e:t.firstChild,o,s),go(r,t.__k,s),t.__k.props.children=null}k={__e:function(e,t,o,n){for(var r,s,i;t=t.__;)if((r=t.__c)&&!(1&r.__g)){r.__g|=4;try{if((i=(s=r.constructor)&&s.getDerivedStateFromError)&&r.setState(s.getDerivedStateFromError(e)),r.componentDidCatch&&(r.componentDidCatch(e,n||{}),i=1),i&&8&r.__g)return void(r.__g|=2)}catch(c){e=c}}throw We=0,e}},ao=0,Rn=function(e){return e!=null&&e.constructor===he},Ue.prototype.setState=function(e,t){var o=this.__s;o&&o!=this.state||(o=this.__s=Y({},this.state)),typeof e=="function"&&(e=e(Y({},o),this.props)),e&&(Y(o,e),this.__v&&(t&&this.__k.push(t),io(this)))},Ue.prototype.forceUpdate=function(e){this.__v&&(this.__g|=4,e&&this.__h.push(e),io(this))},Ue.prototype.render=Ve,H=[],We=0,lo=function(e,t){return e.__v.__b-t.__v.__b},je=Symbol(),po=/(PointerCapture)$|Capture$/i,Mt=0,wt={},Dn=0;var ge,S,Ct,xo,Lt=Object.is,xe=0,Ao=[],Nt=[],M=k,vo=M.__b,ko=M.__r,yo=M.diffed,bo=M.__c,wo=M.unmount,Mo=M.__;function Ft(e,t){M.__h&&M.__h(S,e,xe||t),xe=0;var o=S.__H||(S.__H={__:[],__h:[]});return e>=o.__.length&&o.__.push({}),o.__[e]}function te(e){return xe=1,Vn(Eo,e)}function Vn(e,t,o){var n=Ft(ge++,2);if(n.t=e,!n.__c&&(n.__=[o?o(t):Eo(void 0,t),function(s){var i=(n.__N||n.__)[0],c=n.t(i,s);Lt(i,c)||(n.__N=[c,n.__[1]],n.__c.setState({}))}],n.__c=S,!S.__f)){S.__f=!0;var r=S.shouldComponentUpdate;S.shouldComponentUpdate=function(s,i,c){var l=this.__H;if(!l)return!0;var p=!1,a=this.props!=s;if(l.__.some(function(_){_.__N&&(p=!0,Lt(_.__[0],_.__N[0])||(a=!0))}),r){var f=r.call(this,s,i,c);return p?f||a:f}return!p||a}}return n.__}function B(e,t){var o=Ft(ge++,4);!M.__s&&To(o.__H,t)&&(o.__P=!1,o.__=e,o.u=t,S.__h.push(o))}function Rt(e){return xe=5,D(function(){return{current:e}},[])}function D(e,t){var o=Ft(ge++,7);return To(o.__H,t)&&(o.__=e(),o.__H=t),o.__}function J(e,t){return xe=8,D(function(){return e},t)}function zn(){var e;do{for(;e=Nt.shift();)try{de(e)}catch(o){M.__e(o,{__:(e=e.__P)&&e.__v})}for(;e=Ao.shift();){var t=e.__H;if(e.__P&&t)try{t.__h.some(de),t.__h.some(Ot),t.__h=[]}catch(o){t.__h=[],M.__e(o,e.__v)}}}while(Nt.length)}M.__b=function(e){S=null,vo&&vo(e)},M.__=function(e,t){e&&t.__k&&t.__k.__m&&(e.__m=t.__k.__m),Mo&&Mo(e,t)},M.__r=function(e){ko&&ko(e),ge=0;var t=(S=e.__c).__H;t&&(Ct==S?S.__h=[]:(t.__h.some(de),t.__h.some(Ot),ge=0),t.__h=[],t.__.some(function(o){o.__N&&(o.__=o.__N),o.u=o.__N=void 0})),Ct=S},M.diffed=function(e){yo&&yo(e);var t=e.__c;t&&t.__H&&(t.__H.__h.length&&Po(Ao.push(t)),t.__H.__.some(function(o){o.u&&(o.__H=o.u)})),Ct=S=null},M.__c=function(e,t){t.some(function(o){try{o.__h.some(de),o.__h=o.__h.filter(function(n){return!n.__||Ot(n)})}catch(n){o.__h=[function(){throw n}]}}),bo&&bo(e,t)},M.unmount=function(e){wo&&wo(e);var t,o,n=e.__c;n&&n.__H&&(n.__H.__.some(function(r){try{if(r.__P&&r.__c){if(o===void 0){for(o=e.__;o&&(!o.__c||!o.__c.__P);)o=o.__;o=o&&o.__c}r.__P=o,Po(Nt.push(r))}else de(r)}catch(s){t=s}}),n.__H=void 0,t&&M.__e(t,n.__v))};var So=typeof requestAnimationFrame=="function";function Kn(e){var t,o=function(){clearTimeout(n),So&&cancelAnimationFrame(t),setTimeout(e)},n=setTimeout(o,35);So&&(t=requestAnimationFrame(o))}function Po(e){e!=1&&xo==M.requestAnimationFrame||((xo=M.requestAnimationFrame)||Kn)(zn)}function de(e){var t=S,o=e.__c;typeof o=="function"&&(e.__c=void 0,o()),S=t}function Ot(e){var t=S;e.__c=e.__(),S=t}function To(e,t){return!e||e.length!=t.length||t.some(function(o,n){return!Lt(o,e[n])})}function Eo(e,t){return typeof t=="function"?t(e):t}function Gn(e,t,o){return e==="dark"||e==="light"?e:(t?t==="false":o)?"dark":"light"}var Co=()=>matchMedia("(prefers-color-scheme: dark)"),Dt=()=>Gn(document.documentElement.dataset.theme,document.body.dataset.jpThemeLight,Co().matches);function Lo(e){let[t,o]=[Co(),()=>e(Dt())];t.addEventListener("change",o);let n=new MutationObserver(o);for(let r of[document.documentElement,document.body])n.observe(r,{attributes:!0,attributeFilter:["data-theme","data-jp-theme-light"]});return()=>{t.removeEventListener("change",o),n.disconnect()}}var m=so.bind(uo);function Ke(e,t){if(t.moeregShown)return ze(e,t);let o=[...t.childNodes];t.replaceChildren();try{ze(e,t),t.moeregShown=!0}catch(n){throw t.replaceChildren(...o),n}}function Ge(e){ze(null,e),e.moeregShown=!1}var A=(e,t)=>o=>D(()=>m`<${t} ...${o} />`,[o.data,...e.map(n=>o.state[n])]),Yn=0,oe=e=>D(()=>`${e}-${++Yn}`,[]);function Ye(){let[e,t]=te(Dt);return B(()=>Lo(t),[]),e}var ne=(e,t,o)=>(b(e,t,o)-t)/(o-t)*100;function Je(e,t,o){let[n,r]=[ne(Math.min(0,e),t,o),ne(Math.max(0,e),t,o)];return{left:`${n}%`,width:`${r-n}%`}}function No(e){let[t,o]=[0,0],n=[];return e.forEach((r,s)=>{if(!r)return;let i=r<0?t+=r:o;r>0&&(o+=r),n.push({e:s,start:i,value:r})}),n}function Oo(e,t,[o,n]){let r=(i,c)=>`${(c/(e.length-1)*o).toFixed(1)} ${(n-i*n).toFixed(1)}`,s=e.map(()=>0);return Array.from({length:t},(i,c)=>{let l=e.map((f,_)=>s[_]+(f[c]??0)),[p,a]=[l.map(r),s.map(r).reverse()];return s=l,`M${[...p,...a].join("L")}Z`})}var re=e=>[1,3,5].map(t=>parseInt(e.slice(t,t+2),16)),Xe=(e,t,o)=>e.map((n,r)=>n+(t[r]-n)*o),Jn=e=>w(e.map(t=>t/255<=.04045?t/255/12.92:((t/255+.055)/1.055)**2.4).map((t,o)=>t*[.2126,.7152,.0722][o])),ve=e=>Jn(re(e))>.22,Qe=e=>`rgb(${e.map(Math.round).join(" ")})`,Fo=e=>ve(e)?[16,18,22]:[244,241,234],Ze=["#16161d","#5b4a78","#c98b7d","#f6ecd4"].map(re),et=["#2a6fd1","#101216","#e8853a"].map(re);function ke(e,t){let o=b(t,0,1)*(e.length-1),n=Math.min(Math.floor(o),e.length-2);return Xe(e[n],e[n+1],o-n)}function q(e,t,o){if(t==="none")return o.map(()=>0);let n=e.read(e.displacement),r=Xn(e,t);return o.map((s,i)=>{let c=P(n,i,...o);if(!r)return c;let l=o.map(p=>p/r.every);return c+_e(e.read(r.values),l,[i])})}function Xn(e,t){let[o,n]=t.split(":");return o==="knockout"?e.knockouts[n].field:o==="snapshot"?e.snapshots[n].field:o==="step"?e.steps[n]:null}var tt=(e,t)=>t.startsWith("snapshot:")?e.snapshots[t.slice(9)]:null,Ro=(e,t,o)=>{let n=q(e,t,o);return o.map((r,s)=>r+n[s])},se=(e,t,o)=>_e(e.read(e.images.moving),Ro(e,t,o));function ot(e,t,o,n){return e.labels?t==="fixed"?P(e.read(e.labels.fixed),...n):t==="moving"?P(e.read(e.labels.moving),...n):Qt(e.read(e.labels.moving),Ro(e,o,n)):0}var Do=(e,t)=>t?e.label_names[String(t)]??`label ${t}`:"";function ye(e,t){let[o,n]=t.split(":");if(o==="none")return"no displacement";if(o==="knockout"){let{layer:r,expert:s}=e.knockouts[n];return`without ${e.layers.find(({name:i})=>i===r).experts[s]} in ${r}`}return o==="snapshot"?`training step ${e.snapshots[n].step}`:o==="step"?`field after step ${Number(n)+1}`:"result"}function X(e,t,o=e.every){return t.map((n,r)=>{let s=Math.ceil(e.grid[r]/o);return b(Math.floor(n/(e.stride[r]*o)+.5),0,s-1)})}function Io(e){let t=Math.max(...e),o=e.map(r=>Math.exp(r-t)),n=w(o);return o.map(r=>r/n)}function C(e,t,o,n){let r=X(t,n),s=t.experts.map((a,f)=>P(e.read(t.logits),o,f,...r)),i=Io(s.map((a,f)=>t.left_out.includes(f)?-1/0:a)),c=Array.from({length:t.k},(a,f)=>P(e.read(t.indices),o,f,...r)),l=t.experts.map(()=>0);c.forEach((a,f)=>l[a]=P(e.read(t.gates),o,f,...r));let p=-w(i.map(a=>a>0?a*Math.log(a):0));return{place:r,logits:s,probabilities:i,chosen:c,gates:l,entropy:p}}function V(e,t,o){if(!t.proposals)return null;let n=X(t,o),r=e.read(t.proposals);return e.axes.map((s,i)=>{let{gates:c}=C(e,t,jo(e,t)?i:0,o);return c.map((l,p)=>l?l*P(r,i,p,...n):0)})}var jo=(e,t)=>t.tracks.length===e.axes.length,nt=(e,t,o,n)=>n&&jo(e,t)?n[o]:null;function ie(e,t,o,n){if(!t.attention||t.every!==1)return[];let{window:r}=t.attention,{place:s,chosen:i,gates:c}=C(e,t,o,n),l=e.read(t.attention.keys),p=e.read(t.attention.queries),a=l.shape[1],f=s.map(($,d)=>Math.floor($/r[d])*r[d]),_=f.map(($,d)=>Math.min($+r[d],t.grid[d])),u=Zt(f,_);return i.map(($,d)=>{let h=Array.from({length:a},(g,v)=>P(p,o,d,v,...s)),x=g=>w(h.map((v,y)=>v*P(l,o,y,...g)))/Math.sqrt(a);return{expert:$,gate:c[$],low:f,high:_,tokens:u,weights:Io(u.map(x))}})}var It=e=>e.proposals?"Direction":"Token of",I=(e,t)=>`${It(e).toLowerCase()} ${e.tracks[t]}`;function rt(e,t,o){let{tracks:n,experts:r}=e.layers[o];return{layer:o,track:Math.min(t.track,n.length-1),expert:Math.min(t.expert,r.length-1)}}var st=e=>!!e.kernels[0];var jt=(e,t,o)=>Do(e,ot(e,"fixed",t.field,o));function Uo(e,t,o,n,r){let s=o.map((_,u)=>`${e.axes[u]} ${_}`).join(", "),i=jt(e,t,o),c=`Voxel ${s}${i?`, ${i}`:""}`;if(!r)return`${c}, displacement ${n.map(Oe).join(", ")} voxels.`;let l=e.layers[t.layer],p=nt(e,l,t.track,V(e,l,o)),a=r.chosen.map(_=>{let u=p?` moves ${Oe(p[_])}`:"";return`${l.experts[_]} gate ${r.gates[_].toFixed(2)}${u}`}),f=p?`; together ${Oe(w(p))} voxels of this level.`:".";return`${c}. ${l.name}, ${I(l,t.track)}: ${a.join("; ")}${f}`}var Ho=(e,{show:t,expert:o})=>({first:"First expert",gate:`Gate of ${e.experts[o]}`,entropy:"Entropy of the router"})[t],Wo=(e,t)=>e.experts.map((o,n)=>`${o} ${Math.round(t[n]*100)} percent`).join(", "),Q={dice:["Dice",3],endpoint_error:["Error",2],folds:["Folds",4]},it=e=>Object.keys(Q).filter(t=>t in e),Bo=e=>Math.max(2500,e.split(" ").length*330);var E=({title:e,kind:t,hidden:o=!1,children:n,...r})=>m`
  <section class=${`moe-card ${t}`} aria-label=${e} hidden=${o} ...${r}>
    <h3>${e}</h3>
    ${n}
  </section>
`,O=({colour:e})=>m`<i class="moe-swatch" style=${{background:e}} />`;function ce({legend:e,options:t,value:o,onchange:n,compact:r=!1}){let s=oe("moe-choice"),i=([c,l,p])=>m`
    <label>
      <input type="radio" name=${s} value=${c} checked=${c===o} onchange=${()=>n(c)} />
      <span>${p&&m`<${O} colour=${p} />`}${l}</span>
    </label>
  `;return m`
    <fieldset class=${r?"moe-choice moe-compact":"moe-choice"}>
      <legend>${e}</legend>
      ${t.map(i)}
    </fieldset>
  `}var Z=({onclick:e,disabled:t=!1,children:o})=>m`
  <button type="button" class="moe-toggle" disabled=${t} onclick=${e}>${o}</button>
`,ae=({pressed:e,onchange:t,hidden:o=!1,children:n})=>m`
  <button
    type="button"
    class="moe-toggle"
    hidden=${o}
    aria-pressed=${String(!!e)}
    onclick=${()=>t(!e)}
  >
    ${n}
  </button>
`;function j({label:e,text:t,min:o,max:n,value:r,oninput:s}){let i=oe("moe-slider");return m`
    <div class="moe-slider">
      <label for=${i}>${e}</label>
      <input
        type="range"
        id=${i}
        min=${o}
        max=${n}
        step="1"
        value=${r}
        aria-valuetext=${t}
        oninput=${c=>s(Number(c.currentTarget.value))}
      />
      <output for=${i}>${t}</output>
    </div>
  `}function Qn({walk:e,store:t,state:{step:o,playing:n}}){let r=e.steps.length-1,{sentence:s,quote:i}=e.steps[o],c=p=>t.set({step:b(p,0,r)}),l=p=>{p&&t.state.step===r&&c(0),t.set({playing:p})};return m`
    <div
      class="moe moe-walk"
      role="region"
      aria-label=${`Step by step: ${e.title}`}
      data-theme=${Ye()}
      data-ready="true"
      data-step=${o}
    >
      <header class="moe-head"><h2>${e.title}</h2></header>
      <div class="moe-tools">
        <${Z} disabled=${o===0} onclick=${()=>c(o-1)}>Back<//>
        <${ae} pressed=${n} onchange=${l}>${n?"Pause":"Play"}<//>
        <${Z} disabled=${o===r} onclick=${()=>c(o+1)}>Next<//>
        <${j} label="Step" text=${`${o+1} of ${r+1}`} min="0" max=${r} value=${o} oninput=${c} />
      </div>
      <div class="moe-walk-body">
        <ol class="moe-steps">
          ${e.steps.map(({title:p},a)=>m`<${Zn} title=${p} i=${a} here=${a===o} onpick=${c} />`)}
        </ol>
        <div class="moe-card">
          <p class="moe-sentence" role="status" aria-live="polite">${s}</p>
          <${er} walk=${e} shown=${e.steps[o]} />
          <figure class="moe-quote">
            <pre><code>${i.code}</code></pre>
            <figcaption>${`${i.function}, ${i.file}, line ${i.line}`}</figcaption>
          </figure>
        </div>
      </div>
    </div>
  `}var Zn=({title:e,i:t,here:o,onpick:n})=>m`
  <li>
    <button
      type="button"
      data-here=${o?"":null}
      aria-current=${o?"step":null}
      onclick=${()=>n(t)}
    >
      <b>${t+1}</b>${e}
    </button>
  </li>
`,er=({walk:e,shown:{bars:t,strip:o,total:n}})=>m`
  <div class="moe-picture">
    <${tr} values=${o??[]} hidden=${!o} />
    ${e.experts.map((r,s)=>m`<${nr} key=${r} name=${r} colour=${e.colours[s]} e=${s} bars=${t} />`)}
    <p class="moe-result" hidden=${!n}>${n??""}</p>
  </div>
`;function tr({values:e,hidden:t}){let o=Math.max(...e.map(Math.abs),1e-6),n=r=>Qe(ke(et,.5+r/o/2));return m`
    <div class="moe-features" aria-hidden="true" hidden=${t}>
      ${e.map(r=>m`<i style=${{background:n(r)}} title=${T(r)} />`)}
    </div>
  `}var or={values:[],low:0,high:1,digits:2,faint:[]};function nr({name:e,colour:t,e:o,bars:n}){let{values:r,low:s,high:i,digits:c,faint:l}=n??or,p=r[o]??null,a=p===null?"\u2013":s<0?T(p,c):N(p,c);return m`
    <div
      class=${l.includes(o)?"moe-row moe-dropped":"moe-row"}
      data-expert=${e}
      data-number=${p??""}
      hidden=${!n}
    >
      <span><${O} colour=${t} />${e}</span>
      <span class="moe-track">
        <i style=${{...Je(p??0,s,i),background:t}} />
        <i class="moe-zero" style=${{left:`${ne(0,s,i)}%`}} hidden=${s>=0} />
      </span>
      <span class="moe-number">${a}</span>
    </div>
  `}function be(e,t,o={}){let n=De({step:0,playing:!1,...o}),r=()=>Ke(m`<${Qn} walk=${t} store=${n} state=${n.state} />`,e),s=null;r();let i=n.subscribe(({step:c,playing:l},p)=>{if(p.has("playing")||p.has("step")&&l){if(clearTimeout(s),l&&c===t.steps.length-1)return n.set({playing:!1});let a=t.pace??Bo(t.steps[c].sentence);l&&(s=setTimeout(()=>n.set({step:c+1}),a))}r()});return{store:n,replace(c){t=c,n.set({playing:!1,step:b(n.state.step,0,t.steps.length-1)}),r()},destroy(){clearTimeout(s),i(),Ge(e)}}}var Ut=[.1,.25,.5,.75,1,1.5,2,4,8],rr={k:{},without:{},temperature:1};function qo({data:e,store:t,state:o}){let n=e.layers[o.layer],r=l=>t.set({...l,field:"result",busy:!0}),s=new Set(o.without[n.name]??[]),i=n.experts.length-s.size,c=Math.min(o.k[n.name]??n.k,i);return m`
    <${E} title="Run again" kind="moe-again" hidden=${!o.live} data-busy=${String(!!o.busy)}>
      <p class="moe-note">A change runs the network again on this pair.</p>
      <${sr} layer=${n} out=${s} onchange=${l=>r({without:{...t.state.without,[n.name]:l}})} />
      <${j}
        label="Experts per voxel, k"
        text=${`${c}`}
        min="1"
        max=${i}
        value=${c}
        oninput=${l=>r({k:{...t.state.k,[n.name]:l}})}
      />
      <${j}
        label="Softmax temperature"
        text=${`${o.temperature}`}
        min="0"
        max=${Ut.length-1}
        value=${Xt(Ut,o.temperature)}
        oninput=${l=>r({temperature:Ut[l]})}
      />
      <${Z} onclick=${()=>r(rr)}>As trained<//>
      <p class="moe-scores" role="status">${o.busy?"Running\u2026":ir(e)}</p>
    <//>
  `}function sr({layer:e,out:t,onchange:o}){let n=(s,i)=>{let c=new Set(t);i?c.delete(s):c.add(s),o([...c].sort())},r=(s,i)=>m`
    <label key=${s}>
      <input
        type="checkbox"
        value=${s}
        checked=${!t.has(s)}
        disabled=${!t.has(s)&&t.size===e.experts.length-1}
        onchange=${c=>n(s,c.currentTarget.checked)}
      />
      <${O} colour=${e.colours[i]} />${s}
    </label>
  `;return m`
    <fieldset class="moe-checks">
      <legend>${`Experts in use, ${e.name}`}</legend>
      ${e.experts.map(r)}
    </fieldset>
  `}function ir(e){let t=e.trained??e.metrics,o=(n,r)=>N(n[r],Q[r][1]);return it(e.metrics).map(n=>`${Q[n][0]} ${o(e.metrics,n)} (as trained ${o(t,n)})`).join(", ")}function ct(e,t){let[o,n]=e.axes.map((r,s)=>s).filter(r=>r!==t);return{normal:t,row:o,column:n}}var le=(e,t)=>e.axes.length===2?-1:t.plane,cr={z:"axial",y:"coronal",x:"sagittal"},Ht=(e,t)=>cr[e.axes[t]],pe=(e,t)=>[e.shape[t.row],e.shape[t.column]],we=(e,t,o,n)=>`${n*e.spacing[t.column]} / ${o*e.spacing[t.row]}`;function F({row:e,column:t},o,n,r){let s=[...o];return s[e]=n,s[t]=r,s}var Vo=(e,t,o,n)=>`M-0.5 ${e}H${t-1.5}M${t+1.5} ${e}H${n-.5}M${t} -0.5V${e-1.5}M${t} ${e+1.5}V${o-.5}`;function zo(e,t,o,n){let[r,s]=pe(e,n),i=Math.max(2,Math.round(Math.max(r,s)/16)),c=(p,a)=>{let f=q(e,t,F(n,o,p,a));return`${(a+f[n.column]).toFixed(2)} ${(p+f[n.row]).toFixed(2)}`},l="";for(let p=0;p<r;p+=i)for(let a=0;a<s;a++)l+=(a?"L":"M")+c(p,a);for(let p=0;p<s;p+=i)for(let a=0;a<r;a++)l+=(a?"L":"M")+c(a,p);return l}function Ko(e,t,o,n){let[r,s]=pe(e,n),i=Math.max(2,Math.round(Math.max(r,s)/18)),c="";for(let l=i>>1;l<r;l+=i)for(let p=i>>1;p<s;p+=i){let a=q(e,t,F(n,o,l,p));Math.hypot(a[n.column],a[n.row])>.2&&(c+=at(p,l,p+a[n.column],l+a[n.row],.9))}return c}function at(e,t,o,n,r){let s=Math.hypot(o-e,n-t),i=s&&Math.min(r,s*.6)/s,[c,l]=[(o-e)*i,(n-t)*i],p=(f,_)=>`${f.toFixed(2)} ${_.toFixed(2)}`,a=[p(o-c-l*.5,n-l+c*.5),p(o-c+l*.5,n-l-c*.5)];return`M${p(e,t)}L${p(o,n)}M${a[0]}L${p(o,n)}L${a[1]}`}function Go(e,t,o,n,r){let[s,i]=pe(e,r),c=(p,a)=>ot(e,t,o,F(r,n,p,a)),l="";for(let p=0;p<s;p++)for(let a=0;a<i;a++){let f=c(p,a);a+1<i&&c(p,a+1)!==f&&(l+=`M${a+.5} ${p-.5}v1`),p+1<s&&c(p+1,a)!==f&&(l+=`M${a-.5} ${p+.5}h1`)}return l}var Me=(e,t)=>{let{low:o,high:n}=e.images.window,r=b((t-o)/(n-o),0,1)*255;return[r,r,r]};function Se(e,t,o){let n=(c,l)=>P(e.read(e.images[c]),...l),r=e.images.window.high-e.images.window.low,s=Math.max(2,Math.round(Math.max(...e.shape)/6));return{fixed:c=>Me(e,n("fixed",c)),moving:c=>Me(e,n("moving",c)),warped:c=>Me(e,se(e,o,c)),checkerboard:c=>w(c.map(l=>Math.floor(l/s)))%2?Xe(Me(e,se(e,o,c)),[255,214,150],.12):Me(e,n("fixed",c)),difference:c=>ke(et,.5+(se(e,o,c)-n("fixed",c))/r)}[t]}function Yo(e,t,o,{show:n,expert:r,field:s}){if(n==="first")return ar(e,t,o,tt(e,s)?.layers[t.name]);if(n==="gate"){let[c,l]=Wt(t,r);return p=>Xe(c,l,C(e,t,o,p).gates[r])}let i=Math.log(t.experts.length);return c=>ke(Ze,C(e,t,o,c).entropy/i)}function ar(e,t,o,n){let r=t.colours.map(re);if(n){let i=e.read(n.first);return c=>r[P(i,o,...X(t,c,n.every))]}let s=e.read(t.indices);return i=>r[P(s,o,0,...X(t,i))]}var Wt=(e,t)=>[Fo(e.colours[t]),re(e.colours[t])];function Jo(e,t,o,n,r){return lt(e,t,(s,i)=>r(F(o,n,s,i)))}function lt(e,t,o){let n=new Uint8ClampedArray(e*t*4);for(let r=0,s=0;r<e;r++)for(let i=0;i<t;i++,s+=4){let c=o(r,i);c&&([n[s],n[s+1],n[s+2],n[s+3]]=[c[0],c[1],c[2],255])}return n}var lr={ArrowUp:["row",-1],ArrowDown:["row",1],ArrowLeft:["column",-1],ArrowRight:["column",1],PageUp:["normal",1],PageDown:["normal",-1],Home:["home",0]};function Xo(e,{shift:t}){return o=>{let[n,r]=lr[o.key]??[];!n||e(n,r*(o.shiftKey?t:1))===!1||(o.preventDefault(),o.stopPropagation())}}function Qo(e,t){return[(t.clientY-e.top)/e.height,(t.clientX-e.left)/e.width]}function Zo({ondrag:e,onpress:t,onhover:o,onleave:n}){return{onpointerdown:r=>{r.button||(r.currentTarget.setPointerCapture(r.pointerId),t?.(r))},onpointermove:r=>{r.currentTarget.hasPointerCapture(r.pointerId)?e(r):r.pointerType==="mouse"&&o?.(r)},onpointerleave:r=>n?.(r)}}function Pe({rows:e,columns:t,pixels:o,given:n}){let r=Rt();return B(()=>{r.current.getContext("2d").putImageData(new ImageData(o(),t,e),0,0)},[e,t,...n]),m`<canvas ref=${r} width=${t} height=${e} aria-hidden="true" />`}var ue=({box:e,kind:t=null,children:o})=>m`
  <svg class=${t} viewBox=${e} preserveAspectRatio="none" aria-hidden="true">${o}</svg>
`,Bt=(e,t)=>ve(t)?e:`${e} moe-light-under`,Ae=({box:e,colour:t,...o})=>m`
  <rect class=${Bt("moe-kernel-under",t)} ...${e} />
  <rect class="moe-kernel" ...${e} stroke=${t} ...${o} />
`,pt=e=>.55+.45*e;function Te({data:e,store:t,state:o,name:n,normal:r,paint:s,overlay:i,extra:c,label:l}){let p=D(()=>ct(e,r),[e,r]),[a,f]=pe(e,p),_=o.voxel[r],u=D(()=>i(p,o.voxel),[i,p,_]),$=`-0.5 -0.5 ${f} ${a}`,d=()=>Jo(a,f,p,o.voxel,s);return m`
    <div
      class="moe-plane"
      data-plane=${n}
      style=${{aspectRatio:we(e,p,a,f)}}
      ...${mr(e,t,p)}
      ...${l&&{tabindex:0,role:"application","aria-roledescription":"slice","aria-label":l}}
      onkeydown=${l&&Xo((h,x)=>fr(e,t,p[h],x),{shift:5})}
    >
      <${Pe} rows=${a} columns=${f} pixels=${d} given=${[p,_,s]} />
      <${ue} box=${$}>${u}<//>
      <${ue} box=${$} kind="moe-cursor">
        <${pr} state=${o} axes=${p} rows=${a} columns=${f} />
        ${c?.(p)}
        ${o.hover&&m`<${ur} voxel=${o.hover} axes=${p} />`}
      <//>
    </div>
  `}function pr({state:e,axes:t,rows:o,columns:n}){let r=Vo(e.voxel[t.row],e.voxel[t.column],o,n);return m`<path class="moe-cross-under" d=${r} /><path class="moe-cross" d=${r} />`}var ur=({voxel:e,axes:t})=>m`
  <rect class="moe-hover" x=${e[t.column]-.5} y=${e[t.row]-.5} width="1" height="1" />
`;function mr(e,t,o){return D(()=>{let[n,r]=pe(e,o),s=c=>{let[l,p]=Qo(c.currentTarget.getBoundingClientRect(),c),[a,f]=[b(Math.floor(l*n),0,n-1),b(Math.floor(p*r),0,r-1)];return F(o,t.state.voxel,a,f)},i=c=>ut(t,s(c));return Zo({onpress:i,ondrag:i,onhover:c=>t.set({hover:s(c)}),onleave:()=>t.set({hover:null})})},[e,t,o])}var ut=(e,t)=>e.set({voxel:t,hover:null});function fr(e,t,o,n){if(!(o>=0))return!1;let r=[...t.state.voxel];r[o]=b(r[o]+n,0,e.shape[o]-1),ut(t,r)}var mt=({caption:e,onenlarge:t,...o})=>m`
  <div class="moe-small">
    <${Te} ...${o} />
    <button type="button" class="moe-caption" aria-label=${`Enlarge ${e}`} onclick=${t}>
      ${e}
    </button>
  </div>
`;var qt=(e,t)=>t.map((o,n)=>o*e.every*e.stride[n]);function en(e,t,o,n,r){let{place:s,chosen:i,gates:c}=C(e,t,o,n),l=qt(t,s);return[...i].reverse().filter(p=>t.kernels[p]).map(p=>{let a=t.kernels[p],[f,_]=[a*t.stride[r.column],a*t.stride[r.row]],[u,$]=[l[r.column]-f/2,l[r.row]-_/2];return{expert:p,extent:a,gate:c[p],box:{x:u,y:$,width:f,height:_}}})}function tn(e,t,o,n,r){let[s]=ie(e,t,o,n);if(!s)return null;let{low:i,high:c,expert:l}=s,p=_=>(i[_]-.5)*t.stride[_],a=_=>(c[_]-i[_])*t.stride[_],f={x:p(r.column),y:p(r.row),width:a(r.column),height:a(r.row)};return{expert:l,box:f}}function on(e,t,o,n,r){let s=V(e,t,o);if(!s)return null;let i=t.experts.map((u,$)=>[$,s[n.column][$],s[n.row][$]]).filter(([,u,$])=>Math.hypot(u,$)>.001),c=[w(i.map(([,u])=>u)),w(i.map(([,,u])=>u))],l=Math.max(Math.hypot(...c),...i.map(([,u,$])=>Math.hypot(u,$)),1e-6),p=[.2,.5,1,2,5,10,20].findLast(u=>l*u<r*.9)??.1,[a,f]=[0,0],_=i.map(([u,$,d])=>{let h=at(a*p,f*p,(a+$)*p,(f+d)*p,.45);return[a,f]=[a+$,f+d],{expert:u,d:h}});return{sum:at(0,0,c[0]*p,c[1]*p,.5),links:_,scale:p}}var ft=({data:e,which:t,field:o,voxel:n,axes:r,kind:s})=>m`
  <path class=${`moe-outline moe-outline-${s}`} d=${Go(e,t,o,n,r)} data-labels=${t} />
`,nn=({data:e,field:t,voxel:o,axes:n})=>m`
  <path class="moe-grid" d=${zo(e,t,o,n)} />
`;function rn({data:e,field:t,voxel:o,axes:n}){let r=Ko(e,t,o,n);return m`<path class="moe-arrows-under" d=${r} /><path class="moe-arrows" d=${r} />`}function sn({data:e,layer:t,track:o,voxel:n,axes:r}){if(t.attention){let s=tn(e,t,o,n,r);return s&&m`<${Ae} box=${s.box} colour=${t.colours[s.expert]} data-window="true" />`}return en(e,t,o,n,r).map(({expert:s,extent:i,gate:c,box:l})=>m`
      <${Ae}
        box=${l}
        colour=${t.colours[s]}
        data-expert=${t.experts[s]}
        data-extent=${i}
        stroke-opacity=${pt(c)}
      />
    `)}var an=[["fixed","Fixed"],["moving","Moving"],["warped","Warped"],["checkerboard","Checker"],["difference","Difference"]],cn=[["fixed","dashed"],["warped","solid"]],ln={fixed:[["fixed","solid"]],moving:[["moving","solid"]],warped:cn,checkerboard:[["fixed","solid"]],difference:cn};function pn(e){let{data:t,state:o}=e,{image:n,field:r,labels:s,grid:i,arrows:c}=o,l=le(t,o),[p,a]=[$r(t,n,r),hr(t,{image:n,field:r,labels:s,grid:i,arrows:c})],_={...e,paint:p,overlay:a,extra:u=>dr(t,o,u)};return m`
    <${E} title="Images" kind="moe-images">
      <div class="moe-tools">
        <${_r} ...${e} />
      </div>
      <div class="moe-stage">
        <${Te} name="image" normal=${l} label=${gr(t,n,l)} ...${_} />
      </div>
      ${l>=0&&m`<${kr} ...${e} />`}
      <div class="moe-strip">${xr(t,l).map((u,$)=>vr(u,$,_))}</div>
      <div class="moe-tools"><${yr} ...${e} /></div>
      <label class="moe-field">Field<${br} ...${e} /></label>
      <p class="moe-note">${s&&ln[n].length===2?"Outlines: warped solid, fixed dashed.":""}</p>
    <//>
  `}var _r=A(["image"],({store:e,state:t})=>m`
    <${ce} legend="Image" options=${an} value=${t.image} onchange=${o=>e.set({image:o})} />
  `),$r=(e,t,o)=>J(Se(e,t,o),[e,t,o]);function hr(e,{image:t,field:o,labels:n,grid:r,arrows:s}){return J((c,l)=>{let p={data:e,field:o,voxel:l,axes:c};return[...(n&&e.labels?ln[t]:[]).map(([f,_])=>m`<${ft} which=${f} kind=${_} ...${p} />`),r&&m`<${nn} ...${p} />`,s&&m`<${rn} ...${p} />`]},[e,t,o,n,r,s])}function dr(e,t,o){let n=e.layers[t.layer];return!t.kernels||!n?null:m`<${sn} data=${e} layer=${n} track=${t.track} voxel=${Re(t)} axes=${o} />`}function gr(e,t,o){let[,n]=an.find(([i])=>i===t),[r,s]=o<0?["the image","."]:[`${Ht(e,o)} plane`,", Page Up and Page Down change the slice."];return`${n} image, ${r}. Arrow keys move the voxel${s}`}var xr=(e,t)=>t<0?[]:e.axes.map((o,n)=>n).filter(o=>o!==t);function vr(e,t,o){let{data:n,store:r,state:s}=o;return m`<${mt}
    name=${`image-${t}`}
    normal=${e}
    caption=${`${Ht(n,e)} \xB7 ${n.axes[e]} ${s.voxel[e]}`}
    onenlarge=${()=>r.set({plane:e})}
    ...${o}
  />`}var kr=A(["plane","voxel"],({data:e,store:t,state:{plane:o,voxel:n}})=>{let r=s=>ut(t,t.state.voxel.map((i,c)=>c===t.state.plane?s:i));return m`<${j}
    label=${`${e.axes[o]} slice`}
    text=${`${n[o]}`}
    min="0"
    max=${e.shape[o]-1}
    value=${n[o]}
    oninput=${r}
  />`}),yr=A(["grid","arrows","labels","kernels","layer"],({data:e,store:t,state:o})=>{let n=e.layers[o.layer]?.attention?"Window":"Kernels",r={grid:"Grid",arrows:"Arrows",labels:e.labels&&"Outlines",kernels:n};return Object.entries(r).map(([s,i])=>i&&m`<${ae}
        key=${s}
        pressed=${o[s]}
        hidden=${s==="kernels"&&!e.layers.length}
        onchange=${c=>t.set({[s]:c})}
      >
        ${i}
      <//>`)}),br=A(["field"],({data:e,store:t,state:{field:o}})=>{let n=["result","none",...e.steps.map((s,i)=>`step:${i}`)],r=n.includes(o);return m`
    <select
      class="moe-select"
      aria-label="Field that is applied"
      value=${r?o:"other"}
      onchange=${s=>t.set({field:s.currentTarget.value})}
    >
      ${n.map(s=>m`
          <option value=${s}>${s==="none"?"before (no displacement)":ye(e,s)}</option>
        `)}
      <option value="other" hidden>${r?"":ye(e,o)}</option>
    </select>
  `});var _t=({value:e,low:t,high:o,colour:n})=>m`
  <span class="moe-bar" aria-hidden="true">
    ${t<0&&m`<i class="moe-zero" style=${{left:`${ne(0,t,o)}%`}} />`}
    <i style=${{...Je(e,t,o),background:n}} />
  </span>
`,$t=({layer:e,pieces:t})=>t.map(([o,n,r])=>{let s=ve(e.colours[o])?"moe-dark-text":"moe-light-text",i={width:`${n*100}%`,background:e.colours[o]};return m`<i class=${s} style=${i} title=${`${e.experts[o]} ${fe(n)}`}>
      ${n>.14?r:""}
    </i>`});function mn({data:e,store:t,state:o}){let n=e.layers[o.layer],r=e.knockouts.map((l,p)=>({...l,i:p})).filter(l=>l.layer===n.name),s=it(e.metrics),i=Math.max(...r.map(({change:l})=>l),1e-6),c={name:oe("moe-knockout"),store:t,shown:s,now:o.field};return m`
    <${E} title="Knock-out" kind="moe-knockout" hidden=${!r.length}>
      <p class="moe-note">The network was run again without one expert of this layer.</p>
      <div class="moe-scroll">
        <table class="moe-route">
          <caption>${n.name}</caption>
          <thead>
            <tr>
              ${["Left out","Field changes",...s.map(l=>Q[l][0])].map(l=>m`<th scope="col">${l}</th>`)}
            </tr>
          </thead>
          <tbody>
            <${un} key="result" field="result" metrics=${e.metrics} label="none" ...${c} />
            ${r.map(({i:l,expert:p,change:a,metrics:f})=>m`<${un}
                key=${l}
                field=${`knockout:${l}`}
                metrics=${f}
                label=${n.experts[p]}
                colour=${n.colours[p]}
                change=${{value:a,low:0,high:i}}
                ...${c}
              />`)}
          </tbody>
        </table>
      </div>
    <//>
  `}function un({name:e,store:t,shown:o,now:n,field:r,metrics:s,label:i,colour:c,change:l}){let p=oe("moe-without");return m`
    <tr data-field=${r}>
      <th scope="row">
        <input
          type="radio"
          name=${e}
          id=${p}
          value=${r}
          checked=${r===n}
          onchange=${()=>t.set({field:r})}
        />
        <label for=${p}>${c&&m`<${O} colour=${c} />`}${i}</label>
      </th>
      <td data-number=${l?.value}>
        ${l&&m`${N(l.value)}<${_t} ...${l} colour=${c} />`}
      </td>
      ${o.map(a=>m`<td data-number=${s[a]}>${N(s[a],Q[a][1])}</td>`)}
    </tr>
  `}function fn({data:e,store:t,state:o}){let n=tt(e,o.field),r=n?` at training step ${n.step}`:"";return m`
    <${E} title="Load" kind="moe-load">
      <p class="moe-note">${`Share of assignments each expert got${r}.`}</p>
      <div class="moe-groups">
        ${e.layers.map((s,i)=>m`
            <div class="moe-loads" role="group" aria-label=${s.name}>
              <h4>${s.name}</h4>
              ${s.tracks.map((c,l)=>m`<${wr}
                  layer=${s}
                  name=${c}
                  load=${n?.layers[s.name]?.load[l]??s.load[l]}
                  pressed=${i===o.layer&&l===o.track}
                  onpick=${()=>t.set({...rt(e,t.state,i),track:l})}
                />`)}
            </div>
          `)}
      </div>
    <//>
  `}function wr({layer:e,name:t,load:o,pressed:n,onpick:r}){let s=o.map((i,c)=>[c,i,e.experts[c].replace(/^head /,"")]);return m`
    <button
      type="button"
      class="moe-sum"
      data-load=${`${e.name}/${t}`}
      aria-pressed=${String(n)}
      aria-label=${`${e.name} ${t}: ${Wo(e,o)}`}
      onclick=${r}
    >
      <b>${t}</b>
      <span class="moe-track moe-stack" aria-hidden="true"><${$t} layer=${e} pieces=${s} /></span>
    </button>
  `}var Mr=2;function $n(e){let{data:t,store:o,state:n}=e,r=Ee(t,n),s={...e,normal:le(t,n),overlay:Pr(t,n.labels)},i=r.tracks.map((c,l)=>l).filter(c=>c!==n.track);return m`
    <${E} title="Routing" kind="moe-routing">
      <div class="moe-tools">
        <${Ar} ...${e} />
        <div class="moe-slot"><${Tr} ...${e} /></div>
      </div>
      <div class="moe-stage">
        <${_n} view=${Te} track=${n.track} name="map" label=${Sr(r,n)} ...${s} />
      </div>
      <div class="moe-tools">
        <${Cr} ...${e} />
        <p class="moe-scale"><${Lr} ...${e} /></p>
      </div>
      <div class="moe-tools">
        <div class="moe-slot"><${Er} ...${e} /></div>
      </div>
      <div class="moe-strip">${i.slice(0,Mr).map((c,l)=>m`<${_n}
          view=${mt}
          track=${c}
          name=${`map-${l}`}
          caption=${I(r,c)}
          onenlarge=${()=>o.set({track:c})}
          ...${s}
        />`)}</div>
      <p class="moe-note">${Nr(r)}</p>
    <//>
  `}var Sr=(e,t)=>`${Ho(e,t)}, ${e.name}, ${I(e,t.track)}. Arrow keys move the voxel.`;function _n({view:e,track:t,...o}){let{data:n,state:r}=o,{layer:s,show:i,expert:c,field:l}=r,p=Yo(n,n.layers[s],t,r),a=J(p,[n,s,t,i,c,l]);return m`<${e} paint=${a} ...${o} />`}function Pr(e,t){return J((n,r)=>t&&e.labels?m`<${ft} data=${e} which="fixed" kind="map" field="result" voxel=${r} axes=${n} />`:null,[e,t])}var Ee=(e,t)=>e.layers[t.layer],Ar=A(["layer"],({data:e,store:t,state:o})=>m`
    <select
      class="moe-select"
      aria-label="Routed layer"
      value=${o.layer}
      onchange=${n=>t.set(rt(e,t.state,Number(n.currentTarget.value)))}
    >
      ${e.layers.map(({name:n},r)=>m`<option value=${r}>${n}</option>`)}
    </select>
  `),Tr=A(["layer","track"],({data:e,store:t,state:o})=>{let n=Ee(e,o);return m`<${ce}
    legend=${It(n)}
    options=${n.tracks.map((r,s)=>[s,r])}
    value=${o.track}
    onchange=${r=>t.set({track:r})}
    compact
  />`}),Er=A(["layer","expert"],({data:e,store:t,state:o})=>{let n=Ee(e,o);return m`<${ce}
    legend=${st(n)?"Expert (kernel)":"Expert (head)"}
    options=${n.experts.map((r,s)=>[s,r.replace(/^head /,""),n.colours[s]])}
    value=${o.expert}
    onchange=${r=>t.set({expert:r,show:"gate"})}
    compact
  />`}),Cr=A(["layer","expert","show"],({data:e,store:t,state:o})=>{let n=[["first","First expert"],["gate",`Gate of ${Ee(e,o).experts[o.expert]}`],["entropy","Entropy"]];return m`<${ce}
    legend="Map"
    options=${n}
    value=${o.show}
    onchange=${r=>t.set({show:r})}
  />`}),Lr=A(["layer","expert","show"],({data:e,state:t})=>{let{show:o,expert:n}=t,r=Ee(e,t);if(o==="first")return null;let[s,i]=o==="gate"?[Wt(r,n),"1"]:[Ze,`${N(Math.log(r.experts.length))} nats`],c=`linear-gradient(90deg, ${s.map(Qe).join(", ")})`;return m`0<i class="moe-ramp" style=${{background:c}} />${i}`}),Nr=e=>(e.every>1?`Every ${Fe(e.every-1)} voxel of this layer is stored. `:"")+`Grid ${e.grid.join("\u2009\xD7\u2009")}, one voxel of it is ${e.stride[0]} of the image. ${e.k} of ${e.experts.length} experts are chosen.`;var Or=700,[Vt,zt]=[300,80];function hn({data:e,store:t,state:o}){let n=e.snapshots.length-1,[r,s]=Fr(t,n),i=e.layers[o.layer],c=Kt(o,n),{step:l,metrics:p}=e.snapshots[c],a=e.snapshots.map(({layers:_})=>_[i.name]?.load[o.track]??[]),f="dice"in p?` Dice at step ${l}: ${N(p.dice,3)}.`:"";return m`
    <${E} title="Training" kind="moe-training">
      <p class="moe-note">${`Load of ${i.name}, ${I(i,o.track)}, while it was trained.${f}`}</p>
      <svg class="moe-chart" viewBox=${`0 0 ${Vt} ${zt}`} preserveAspectRatio="none" aria-hidden="true">
        ${Oo(a,i.experts.length,[Vt,zt]).map((_,u)=>m`<path class="moe-area" d=${_} style=${{fill:i.colours[u]}} />`)}
        <path class="moe-marker" d=${`M${c/n*Vt} 0V${zt}`} />
      </svg>
      <${j}
        label="Training step"
        text=${`step ${l}`}
        min="0"
        max=${n}
        value=${c}
        oninput=${_=>t.set({field:`snapshot:${_}`})}
      />
      <div class="moe-tools">
        <${ae} pressed=${r} onchange=${s}>${r?"Pause":"Play"}<//>
        <${Z} onclick=${()=>t.set({field:"result"})}>Result<//>
      </div>
    <//>
  `}var Kt=(e,t)=>e.field.startsWith("snapshot:")?Number(e.field.slice(9)):t;function Fr(e,t){let[o,n]=te(!1);return B(()=>{if(!o)return;let s=setInterval(()=>{let i=Kt(e.state,t)+1;i>t?n(!1):e.set({field:`snapshot:${i}`})},Or);return()=>clearInterval(s)},[o]),[o,s=>{s&&Kt(e.state,t)===t&&e.set({field:"snapshot:0"}),n(s)}]}function gn({data:e,layer:t,state:o,voxel:n}){let r=ct(e,le(e,o)),s=C(e,t,o.track,n),i={data:e,layer:t,state:o,voxel:n,axes:r,decision:s};if(!t.attention)return st(t)&&m`<${Rr} ...${i} />`;let c=Ur(t,o.track);return ie(e,t,o.track,n).map(l=>m`<${Hr} source=${c} head=${l} ...${i} />`)}var dn=4;function Rr(e){let{data:t,layer:o,voxel:n,axes:r,decision:s}=e,i=Math.max(...o.kernels.map(a=>a??1))/2+.75,c=on(t,o,n,r,i),l=c?.scale??1,p=l===1?"arrows at true size":`arrows \xD7${l}`;return m`
    <figure class="moe-lens">
      <div style=${{aspectRatio:we(t,r,1,1)}}>
        <${Dr} reach=${i} ...${e} />
        <${ue} box=${`${-i} ${-i} ${2*i} ${2*i}`}>
          ${o.kernels.map((a,f)=>m`<${Ir} layer=${o} e=${f} decision=${s} />`)}
          ${c&&m`<${jr} layer=${o} chain=${c} />`}
        <//>
      </div>
      <figcaption>${`Kernels at true size, one square is one voxel of the level; ${p}`}</figcaption>
    </figure>
  `}function Dr({data:e,layer:t,state:o,voxel:n,axes:r,decision:s,reach:i}){let c=Math.round(2*i*dn),l=qt(t,s.place),p=()=>{let $=Se(e,o.image,o.field),d=(h,x)=>Math.round(l[h]+((x+.5)/dn-i)*t.stride[h]);return lt(c,c,(h,x)=>{let[g,v]=[d(r.row,h),d(r.column,x)];return g>=0&&v>=0&&g<e.shape[r.row]&&v<e.shape[r.column]?$(F(r,n,g,v)).map(me=>me*.8):null})},{image:a,field:f,plane:_}=o,u=[e,t,a,f,_,n.join(",")];return m`<${Pe} rows=${c} columns=${c} pixels=${p} given=${u} />`}function Ir({layer:e,e:t,decision:{chosen:o,gates:n}}){let[r,s]=[e.kernels[t],e.colours[t]],i={x:-r/2,y:-r/2,width:r,height:r};return o.includes(t)?m`<${Ae} box=${i} colour=${s} stroke-opacity=${pt(n[t])} />`:m`<rect class="moe-kernel moe-kernel-off" ...${i} stroke=${s} stroke-opacity="0.8" />`}var jr=({layer:e,chain:t})=>m`
  <path class="moe-chain-sum" d=${t.sum} />
  ${t.links.map(({expert:o,d:n})=>m`
      <path class=${Bt("moe-chain-under",e.colours[o])} d=${n} />
      <path class="moe-chain" d=${n} stroke=${e.colours[o]} data-expert=${e.experts[o]} />
    `)}
`;function Ur(e,t){let o=e.tracks[t].includes("moving")?"moving":"fixed";return e.attention.cross?{moving:"fixed",fixed:"moving"}[o]:o}function Hr({source:e,head:t,...o}){let{data:n,layer:r,axes:s,decision:i}=o,{expert:c,gate:l,low:p,high:a,weights:f}=t,[_,u]=[s.row,s.column].map(x=>a[x]-p[x]),$=Math.max(...f),d=Wr(t,s,i.place),h=w(d.map(([,x])=>x));return m`
    <figure class="moe-lens moe-attention" data-head=${r.experts[c]} data-source=${e}>
      <div style=${{aspectRatio:we(n,s,_,u)}}>
        <${Br} source=${e} low=${p} high=${a} ...${o} />
        <${ue} box=${`0 0 ${u} ${_}`}>
          ${d.map(([x,g])=>m`<circle
              class="moe-disc"
              cx=${x[s.column]-p[s.column]+.5}
              cy=${x[s.row]-p[s.row]+.5}
              r=${.46*Math.sqrt(g/$)}
              fill=${r.colours[c]}
              data-token=${x.join(",")}
              data-weight=${g}
            />`)}
          <rect
            class="moe-token"
            x=${i.place[s.column]-p[s.column]}
            y=${i.place[s.row]-p[s.row]}
            width="1"
            height="1"
          />
        <//>
      </div>
      <figcaption>
        <${O} colour=${r.colours[c]} />
        ${` ${r.experts[c]}, gate ${l.toFixed(2)}, looks at the ${e} image: `}
        ${`${fe(h)} in this slice, at most ${fe($)} on one token`}
      </figcaption>
    </figure>
  `}var Wr=({tokens:e,weights:t},{normal:o},n)=>e.map((r,s)=>[r,t[s]]).filter(([r])=>o<0||r[o]===n[o]);function Br({data:e,layer:t,state:o,voxel:n,axes:r,source:s,low:i,high:c}){let[l,p]=[r.row,r.column].map(_=>(c[_]-i[_])*t.stride[_]),a=()=>{let _=Se(e,s,"result"),u=($,d)=>b(i[$]*t.stride[$]+d-(t.stride[$]>>1),0,e.shape[$]-1);return lt(l,p,($,d)=>_(F(r,n,u(r.row,$),u(r.column,d))).map(h=>h*.7))},f=[e,t,s,o.plane,n.join(",")];return m`<${Pe} rows=${l} columns=${p} pixels=${a} given=${f} />`}var qr="Experts\u2019 shares add up to this level\u2019s step, in voxels of the level.",vn=48;function kn({data:e,layer:t,shares:o,state:n,store:r}){let s=Math.max(.25,...o.map(i=>w(i.map(Math.abs))));return m`
    <p class="moe-note">${qr}</p>
    ${o.map((i,c)=>m`<${Vr}
        key=${c}
        name=${e.axes[c]}
        layer=${t}
        row=${i}
        span=${s}
        pressed=${c===n.track}
        onpick=${()=>c<t.tracks.length&&r.set({track:c})}
      />`)}
  `}function Vr({name:e,layer:t,row:o,span:n,pressed:r,onpick:s}){let i=w(o);return m`
    <button
      type="button"
      class="moe-sum"
      data-direction=${e}
      data-total=${i}
      aria-label=${`Direction ${e}, sum ${T(i)} voxels`}
      aria-pressed=${String(r)}
      onclick=${s}
    >
      <b>${e}</b>
      <span class="moe-track">
        <i class="moe-zero" style=${{left:"50%"}} />
        ${No(o).map(({e:c,start:l,value:p})=>m`<i
            class="moe-piece"
            title=${`${t.experts[c]} ${T(p)}`}
            style=${{left:`${xn(l,n)}%`,width:`${Math.abs(p)/n*vn}%`,background:t.colours[c]}}
          />`)}
        <i class="moe-total" style=${{left:`${xn(i,n)}%`}} />
      </span>
      <span class="moe-number">${T(i)}</span>
    </button>
  `}var xn=(e,t)=>50+e/t*vn;function yn({layer:e,state:t,decision:o,share:n}){let r=["Expert","Logit","Softmax",`Top\u2011${e.k}`,"Gate",...n?["Moves"]:[]],s={logit:Math.max(1,...o.logits.map(Math.abs)),share:n&&Math.max(.1,...n.map(Math.abs))};return m`
    <table class="moe-route">
      <caption>${`${e.name}, ${I(e,t.track)}`}</caption>
      <thead>
        <tr>
          ${r.map(i=>m`<th scope="col">${i}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${e.experts.map((i,c)=>m`<${zr}
            key=${i}
            layer=${e}
            e=${c}
            here=${c===t.expert}
            decision=${o}
            share=${n}
            scales=${s}
          />`)}
      </tbody>
    </table>
  `}function zr({layer:e,e:t,here:o,decision:{logits:n,probabilities:r,chosen:s,gates:i},share:c,scales:l}){let[p,a,f]=[e.experts[t],e.colours[t],s.indexOf(t)],_=f<0,u={colour:a,low:0,high:1},$=e.left_out.includes(t)?"out":T(n[t]);return m`
    <tr data-expert=${p} class=${_?"moe-dropped":""} aria-current=${o?"true":null}>
      <th scope="row"><${O} colour=${a} />${p}</th>
      <${ht} name="logit" value=${n[t]} text=${$} ...${u} low=${-l.logit} high=${l.logit} />
      <${ht} name="softmax" value=${r[t]} text=${r[t].toFixed(2)} ...${u} />
      <td data-value="rank" data-number=${f}>${_?"\u2013":Fe(f)}</td>
      <${ht} name="gate" value=${i[t]} text=${_?"0":i[t].toFixed(2)} ...${u} />
      ${c&&m`<${ht}
          name="share"
          value=${c[t]}
          text=${_?"0":T(c[t])}
          ...${u}
          low=${-l.share}
          high=${l.share}
        />`}
    </tr>
  `}var ht=({name:e,value:t,text:o,low:n,high:r,colour:s})=>m`
  <td data-value=${e} data-number=${t}>
    <span>${o}</span>
    <${_t} value=${t} low=${n} high=${r} colour=${s} />
  </td>
`;var Kr=["result","none"],Gr=200;function bn(e,t){let o=Re(t),n=q(e,t.field,o),r=e.layers[t.layer]??null,s=r&&C(e,r,t.track,o),i=r&&V(e,r,o);return{voxel:o,u:n,layer:r,decision:s,shares:i}}function wn({data:e,store:t,state:o,seen:n}){let{voxel:r,u:s,layer:i,decision:c,shares:l}=n,p=i&&nt(e,i,o.track,l);return m`
    <${E} title="At this voxel" kind="moe-voxel" data-voxel=${r.join(",")}>
      <${Mn} data=${e} state=${o} seen=${n} displacement=${s.join(",")}>
        ${i&&!Kr.includes(o.field)&&m`<span>decisions are those of the result</span>`}
      <//>
      <div class="moe-lenses">
        ${i&&m`<${gn} data=${e} layer=${i} state=${o} voxel=${r} />`}
      </div>
      <div class="moe-scroll">
        ${i&&m`<${yn} layer=${i} state=${o} decision=${c} share=${p} />`}
      </div>
      <div class="moe-sums">
        ${l&&m`<${kn} data=${e} layer=${i} shares=${l} state=${o} store=${t} />`}
      </div>
      <${Yr} text=${Uo(e,o,r,s,c)} />
    <//>
  `}function Mn({data:e,state:t,seen:{voxel:o,u:n},displacement:r=null,children:s}){return m`
    <p class="moe-where">
      <strong>${o.map((i,c)=>`${e.axes[c]} ${i}`).join("\u2002")}</strong>
      <span>${jt(e,t,o)||"no label"}</span>
      <span data-displacement=${r}>${`u = (${n.map(i=>T(i)).join(", ")})`}</span>
      ${s}
    </p>
  `}function Yr({text:e}){let[t,o]=te("");return B(()=>{let n=setTimeout(()=>o(e),Gr);return()=>clearTimeout(n)},[e]),m`<p class="moe-live" role="status" aria-live="polite">${t}</p>`}function Sn({data:e,state:t,seen:o}){let{layer:n,decision:r}=o;return m`
    <div class="moe-pocket" aria-hidden="true">
      ${n&&m`
          <${Mn} data=${e} state=${t} seen=${o} />
          <span class="moe-track moe-stack"><${$t} layer=${n} pieces=${Jr(n,r)} /></span>
        `}
    </div>
  `}function Jr(e,{chosen:t,gates:o}){let n=w(t.map(r=>o[r]))||1;return t.map(r=>[r,o[r]/n,`${e.experts[r]} ${o[r].toFixed(2)}`])}var Xr=A(["layer","track","field"],fn),Qr=A(["layer","field"],mn),Zr=A(["layer","live","k","without","temperature","busy"],qo),es=A(["layer","track","field"],hn);function ts(e){let{data:t,state:o}=e,[n,r]=[t.layers.length>0,bn(t,o)];return m`
    <div
      class="moe"
      role="region"
      aria-label=${`Explorer: ${t.title}`}
      data-theme=${Ye()}
      data-ready="true"
    >
      <header class="moe-head">
        <h2>${t.title}</h2>
        <span class="moe-badge">${o.field==="result"?"":`Shown: ${ye(t,o.field)}`}</span>
      </header>
      <div class="moe-columns">
        <${pn} ...${e} />
        ${n&&m`<${$n} ...${e} />`}
        <${wn} seen=${r} ...${e} />
      </div>
      <div class="moe-more">${n&&m`<${os} ...${e} />`}</div>
      <${Sn} seen=${r} ...${e} />
    </div>
  `}var os=e=>m`
  <${Xr} ...${e} />
  <${Qr} ...${e} />
  <${Zr} ...${e} />
  ${e.data.snapshots.length>1&&m`<${es} ...${e} />`}
`;function Ce(e,t,o={}){let n=De({...eo(t),...o}),r=()=>Ke(m`<${ts} data=${t} store=${n} state=${n.state} />`,e);r();let s=n.subscribe(r);return{store:n,replace(i){t={...t,...i};let c=t.knockouts.length||!n.state.field.startsWith("knockout:");n.set({busy:!1,field:c?n.state.field:"result"}),r()},destroy(){s(),Ge(e)}}}async function Gt(e,t,o){return t.view==="steps"?be(e,t,o):Ce(e,await ee(t),o)}function Pn(e){return Promise.all([...e.querySelectorAll("[data-moereg-explorer]:not([data-moereg-alive])")].map(async t=>{t.dataset.moeregAlive="true";let o=JSON.parse(t.querySelector("script[type='application/json']").textContent);return t.explorer=await Gt(t.querySelector("[data-moereg-mount]"),o),performance.mark("moereg-ready"),t.explorer}))}var dt=({model:e,el:t})=>e.get("view")==="steps"?ss(e,t):rs(e,t),ns=["hover","busy","live"];async function rs(e,t){let o=p=>e.get(p),n=await ee(vt(o("payload"))),r=Ce(t,n,yt(n,o)),{store:s}=r,i=xt(e,{current:()=>oo(n,s.state),apply:p=>s.set(yt(n,p))});s.subscribe((p,a)=>{[...a].every(f=>ns.includes(f))||i.changed()});let c=async()=>r.replace(await ee(vt(o("payload")))),l=p=>{p.alive&&s.set({live:!0}),p.failed&&s.set({busy:!1})};return e.on("change:payload",c),e.on("msg:custom",l),e.send({hello:!0}),()=>{i.stop(),e.off("change:payload",c),e.off("msg:custom",l),r.destroy()}}function ss(e,t){let o=be(t,e.get("payload"),{step:e.get("step")}),n=xt(e,{current:()=>({step:o.store.state.step}),apply:s=>o.store.set({step:s("step")})});o.store.subscribe((s,i)=>i.has("step")&&n.changed());let r=()=>o.replace(e.get("payload"));return e.on("change:payload",r),()=>{n.stop(),e.off("change:payload",r),o.destroy()}}var is={render:dt};return Nn(cs);})();
export const { attentionAt, contributionsAt, createExplorer, createSteps, decisionAt, decode, displacementAt, interpolate, layerVoxel, mount, mountAll, openPayload, render, signed, warpedAt } = moeregView;
export default moeregView.default;
